// SPDX-License-Identifier: MIT
// What a target holds to be true of every input.
#pragma once

#include <cstdio>
#include <cstdlib>

// Ends the run, and says where, when it does not hold.
inline void Require(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "%s:%d: this does not hold\n", file, line);
  std::abort();
}
