// SPDX-License-Identifier: MIT
// A thread's epoll instance and its inbox: what the handshake and relay threads loop on.
#pragma once

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "loop/clock.h"
#include "net/unique_fd.h"

namespace ironsocket {

class Epoll {
 public:
  Epoll() : fd_(epoll_create1(EPOLL_CLOEXEC)) {}
  bool valid() const { return fd_.valid(); }

  // 0 or -errno (ENOMEM, ENOSPC: fs.epoll.max_user_watches).
  int Add(int fd, uint32_t events, uint64_t tag) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = tag;
    return epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
  }
  int Modify(int fd, uint32_t events, uint64_t tag) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = tag;
    return epoll_ctl(fd_.get(), EPOLL_CTL_MOD, fd, &event) == 0 ? 0 : -errno;
  }
  // Needed before close() wherever the descriptor may be shared: epoll watches the open file
  // description, not the number.
  void Remove(int fd) { epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr); }

  // Events that are ready; none after `timeout_ms` (-1: waits for ever) or on a signal.
  std::span<epoll_event> Wait(std::span<epoll_event> events, int timeout_ms) {
    const int count =
        epoll_wait(fd_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
    return events.first(count > 0 ? count : 0);
  }

 private:
  UniqueFd fd_;
};

// Messages from other threads: any thread pushes, the owner takes all at once when its eventfd says
// so.
template <typename Message>
class Inbox {
 public:
  Inbox() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  bool valid() const { return event_.valid(); }
  int fd() const { return event_.get(); }

  void Push(Message message) {
    Add(std::move(message));
    Wake();
  }

  // Without waking the owner, which costs two changes of threads: for who has more to come, and
  // then calls Wake.
  void Add(Message message) {
    std::lock_guard lock(mutex_);
    if (messages_.empty()) since_us_ = NowUs();
    messages_.push_back(std::move(message));
  }

  // Tells the owner of what was added, unless it has been told, has taken it, or nothing has waited
  // for `least_us`.
  void Wake(int64_t least_us = 0) {
    {
      std::lock_guard lock(mutex_);
      if (told_ || messages_.empty() || NowUs() - since_us_ < least_us) return;
      told_ = true;
    }
    const uint64_t one = 1;
    // Can only fail when the counter is full, and then the owner is awake already (eventfd(2)).
    [[maybe_unused]] const ssize_t written = write(event_.get(), &one, sizeof one);
  }

  // The owner's, when the eventfd is readable, before Take.
  void Heard() {
    uint64_t ignored;
    [[maybe_unused]] const ssize_t got = read(event_.get(), &ignored, sizeof ignored);
    std::lock_guard lock(mutex_);
    told_ = false;
  }

  // All that is there, whether the owner has been told of it or is awake anyway.
  std::vector<Message> Take() {
    std::lock_guard lock(mutex_);
    return std::exchange(messages_, {});
  }

 private:
  UniqueFd event_;
  std::mutex mutex_;
  std::vector<Message> messages_;
  int64_t since_us_ = 0;  // when the first of them came
  bool told_ = false;
};

}  // namespace ironsocket
