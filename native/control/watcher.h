// SPDX-License-Identifier: MIT
// Descriptors watched by Node's own loop (uv_poll_t), for the few that the JavaScript thread has to
// know of: channels, pidfds and the engine's wake-up. All on that thread.
#pragma once

#include <uv.h>

#include <functional>
#include <set>

#include "net/unique_fd.h"

namespace ironsocket {

class Watchers;

// One watched descriptor. Made by Watchers::Open(); frees itself some time after Close(), because
// libuv keeps using the memory of a handle until its close callback has run.
class Watcher {
 public:
  int fd() const { return fd_.get(); }
  // Chooses UV_READABLE and/or UV_WRITABLE; the callback gets 0 after `timeout_ms`, once, unless it
  // is -1. 0 or a negative errno.
  int Watch(int events, int64_t timeout_ms = -1);
  // Stops and closes the descriptor. The callback does not run again. Do not use the watcher
  // afterwards.
  void Close();

 private:
  friend class Watchers;
  Watcher(Watchers* owner, UniqueFd fd, std::function<void(int)> callback)
      : owner_(owner), fd_(std::move(fd)), callback_(std::move(callback)) {}
  ~Watcher() = default;

  Watchers* owner_;
  UniqueFd fd_;
  std::function<void(int)> callback_;
  uv_poll_t poll_{};
  uv_timer_t timer_{};
  int handles_ = 2;  // that libuv still uses
};

// All watchers of one Node environment.
class Watchers {
 public:
  explicit Watchers(uv_loop_t* loop) : loop_(loop) {}
  Watchers(const Watchers&) = delete;
  Watchers& operator=(const Watchers&) = delete;

  enum class Life {
    kKeepsProcess,
    kBackground
  };  // whether the loop goes on for this descriptor alone

  // Watches for reading. `callback` gets the events; UV_READABLE on an error, so that the next call
  // on the descriptor shows it. nullptr and `*error` (negative errno) when the loop can't take it;
  // the descriptor is closed then.
  Watcher* Open(UniqueFd fd, Life life, std::function<void(int events)> callback, int* error);
  // Closes what is left and runs `done` when libuv has let go of all memory; Open() fails from now
  // on.
  void CloseAll(std::function<void()> done);

 private:
  friend class Watcher;
  void Closed(Watcher* watcher);

  uv_loop_t* loop_;
  std::set<Watcher*> open_;
  size_t closing_ = 0;
  bool ended_ = false;
  std::function<void()> done_;
};

}  // namespace ironsocket
