// SPDX-License-Identifier: MIT
// What a finished handshake leaves behind: the keys, where both sequence numbers stand, and what
// was negotiated.
#pragma once

#include <cstdint>
#include <string>

#include "record/traffic_keys.h"

namespace ironsocket {

struct HandshakeResult {
  const Suite* suite = nullptr;
  const char* group = "";  // static text
  bool resumed = false;
  uint16_t max_content = kMaxPlaintext;
  TrafficKeys rx;
  TrafficKeys tx;
  std::string sni;
  std::string alpn;
};

}  // namespace ironsocket
