// SPDX-License-Identifier: MIT
// Events of the engine on their way to the JavaScript thread: bounded, and without duplicates, so
// that a flood of the same event is one entry. Many pushes are one wake-up.
#pragma once

#include <mutex>
#include <vector>

#include "engine.h"
#include "net/unique_fd.h"

namespace ironsocket {

class EventQueue {
 public:
  // More than one event a listener and errno can't wait at once; beyond this they are dropped.
  static constexpr size_t kMaxWaiting = 4'096;

  EventQueue();

  // The eventfd to watch for readability; invalid when there was none to be had.
  const UniqueFd& wake_fd() const { return wake_fd_; }
  // Any thread.
  void Push(const EngineEvent& event);
  // Takes what waits and rearms the wake-up.
  std::vector<EngineEvent> Take();

 private:
  UniqueFd wake_fd_;
  std::mutex mutex_;
  std::vector<EngineEvent> waiting_;  // guarded by mutex_
};

}  // namespace ironsocket
