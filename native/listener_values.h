// SPDX-License-Identifier: MIT
// What a session needs of the listener that accepted it: in the plan, in the listener itself, and
// on the way to another worker.
#pragma once

#include <cstdint>
#include <string>

#include "record/offload.h"

namespace ironsocket {

struct ListenerValues {
  uint32_t id = 0;      // of the plan; another plan may have given it to another listener
  std::string name;     // for logs, and the same in every plan
  std::string backend;  // as configured, for logs
  uint32_t connect_ms = 5'000;
  uint32_t idle_ms = 0;              // 0: never
  uint32_t half_closed_ms = 60'000;  // 0: never
  bool reset_on_truncation = false;
  OffloadPolicy offload;

  bool operator==(const ListenerValues&) const = default;
};

}  // namespace ironsocket
