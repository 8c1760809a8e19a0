// SPDX-License-Identifier: MIT
// A native thread of ours: named, with every signal blocked (signals belong to the JavaScript
// thread).
#pragma once

#include <pthread.h>
#include <signal.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace ironsocket {

// pthread instead of std::thread, which throws where the system has no thread to give.
class Thread {
 public:
  Thread() = default;
  ~Thread() { Join(); }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  // `name` has at most 15 bytes (pthread_setname_np(3)). False and `*error` when there is no thread
  // to be had.
  bool Start(const char* name, std::function<void()> body, std::string* error) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    // A thread inherits the mask of its maker: there is no moment in which a signal could reach it.
    pthread_sigmask(SIG_SETMASK, &all, &before);
    auto owned = std::make_unique<std::function<void()>>(std::move(body));
    const int failure = pthread_create(&thread_, nullptr, Run, owned.get());
    if (failure == 0) {
      (void)owned.release();  // Run deletes it
      running_ = true;
      pthread_setname_np(thread_, name);
    } else {
      *error = std::string("no thread for ") + name + ": " + strerror(failure);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return running_;
  }

  void Join() {
    if (!std::exchange(running_, false)) return;
    pthread_join(thread_, nullptr);
  }

  // For a body that may never return and owns all that it uses: nobody waits for it any more.
  void Detach() {
    if (!std::exchange(running_, false)) return;
    pthread_detach(thread_);
  }

 private:
  static void* Run(void* body) {
    const std::unique_ptr<std::function<void()>> owned(static_cast<std::function<void()>*>(body));
    (*owned)();
    return nullptr;
  }

  pthread_t thread_{};
  bool running_ = false;
};

}  // namespace ironsocket
