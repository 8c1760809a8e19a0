// SPDX-License-Identifier: MIT
#include "handoff/version.h"

#include <cstdlib>

#include "handoff/wire.h"

namespace ironsocket {
namespace {

// Behind a mark, so that it can be found in the built file: the tests make other versions by
// changing the number in a copy. Volatile, so that it is nowhere else.
struct Marked {
  char mark[22];
  uint16_t number;
};
[[gnu::used]] const volatile Marked kMarked = {"ironsocket-handoff-v=", wire::kVersion};

}  // namespace

uint16_t HandoffVersion() { return kMarked.number; }

bool IsNeighbour(uint16_t version) {
  return version != 0 && std::abs(version - HandoffVersion()) <= 1;
}

}  // namespace ironsocket
