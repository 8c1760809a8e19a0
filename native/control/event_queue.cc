// SPDX-License-Identifier: MIT
#include "control/event_queue.h"

#include <sys/eventfd.h>

#include <algorithm>

namespace ironsocket {

EventQueue::EventQueue() : wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void EventQueue::Push(const EngineEvent& event) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto same = [&](const EngineEvent& other) {
    return other.type == event.type && other.listener == event.listener &&
           other.error == event.error;
  };
  if (waiting_.size() >= kMaxWaiting || std::any_of(waiting_.begin(), waiting_.end(), same)) return;
  waiting_.push_back(event);
  // Only the first one wakes: Take() empties the queue.
  if (waiting_.size() == 1) ::eventfd_write(wake_fd_.get(), 1);
}

std::vector<EngineEvent> EventQueue::Take() {
  std::lock_guard<std::mutex> lock(mutex_);
  eventfd_t ignored;
  ::eventfd_read(wake_fd_.get(), &ignored);
  return std::exchange(waiting_, {});
}

}  // namespace ironsocket
