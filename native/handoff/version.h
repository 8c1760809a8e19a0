// SPDX-License-Identifier: MIT
// The version of the handoff, of frames and messages alike. docs/handoff.md says what a new one may
// change.
#pragma once

#include <cstdint>

namespace ironsocket {

// What this program writes.
uint16_t HandoffVersion();

// Whether we understand what a program of that version writes, and it us: one version older, ours,
// or one newer. There was no version 0.
bool IsNeighbour(uint16_t version);

}  // namespace ironsocket
