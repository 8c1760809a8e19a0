// SPDX-License-Identifier: MIT
// The clock of every native thread's deadlines.
#pragma once

#include <time.h>

#include <cstdint>

namespace ironsocket {

// Milliseconds on CLOCK_MONOTONIC: deadlines don't jump with the wall clock. Any thread.
inline int64_t NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace ironsocket
