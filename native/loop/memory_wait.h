// SPDX-License-Identifier: MIT
// What the containers of this process do when there is no memory for them: without exceptions a
// failed `new` would end the worker, and every session with it. Sessions' own bytes never come from
// there (buffer_pool.h).
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <new>

#include "loop/clock.h"

namespace ironsocket {

// A new handler (std::set_new_handler): called by the thread that got no memory, as often as it
// gets none. Waits a little, so that others can give some back; ends the process after a second.
inline void WaitForMemory() {
  constexpr int64_t kPatienceMs = 1000;
  constexpr int64_t kSameShortageMs = 50;  // calls that are further apart are about another one
  constexpr useconds_t kWaitUs = 5000;
  thread_local int64_t first_ms = 0;
  thread_local int64_t last_ms = 0;
  const int64_t now = NowMs();
  if (now - last_ms > kSameShortageMs) first_ms = now;
  if (now - first_ms > kPatienceMs) std::abort();
  usleep(kWaitUs);
  last_ms = NowMs();
}

}  // namespace ironsocket
