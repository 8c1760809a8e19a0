// SPDX-License-Identifier: MIT
#pragma once

#include "handoff/frame.h"
#include "handoff/wire.h"

namespace ironsocket {

// Reads the value of one field into `*out`. False where a session of ours could not have it.
bool ReadField(wire::Field type, std::span<const uint8_t> value, DecodedSession* out);

}  // namespace ironsocket
