// SPDX-License-Identifier: MIT
// The clock of every native thread's deadlines.
#pragma once

#include <time.h>

#include <cstdint>

namespace ironsocket {

// Microseconds on CLOCK_MONOTONIC, which doesn't jump with the wall clock. Any thread.
inline int64_t NowUs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
}

// The same in milliseconds, for deadlines.
inline int64_t NowMs() { return NowUs() / 1000; }

}  // namespace ironsocket
