// SPDX-License-Identifier: MIT
// What the containers of this process do when there is no memory for them: without exceptions a
// failed `new` would end the worker, and every session with it. Sessions' own bytes never come from
// there (buffer_pool.h).
#pragma once

#include <unistd.h>

#include <new>

#include "loop/clock.h"

namespace ironsocket {

// A new handler (std::set_new_handler) for a process with an engine: called by whichever thread got
// no memory, Node's own too, as often as it gets none. Waits a little, so that others can give some
// back; after a second it is no longer the handler, and the allocation fails as it would have.
inline void WaitForMemory() {
  constexpr int64_t kPatienceMs = 1000;
  constexpr int64_t kSameShortageMs = 50;  // calls that are further apart are about another one
  constexpr useconds_t kWaitUs = 5000;
  thread_local int64_t first_ms = 0;
  thread_local int64_t last_ms = 0;
  const int64_t now = NowMs();
  if (now - last_ms > kSameShortageMs) first_ms = now;
  if (now - first_ms > kPatienceMs) {
    std::set_new_handler(nullptr);
    return;
  }
  usleep(kWaitUs);
  last_ms = NowMs();
}

}  // namespace ironsocket
