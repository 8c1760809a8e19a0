// SPDX-License-Identifier: MIT
#include "control/watcher.h"

namespace ironsocket {

Watcher* Watchers::Open(UniqueFd fd, Life life, std::function<void(int)> callback, int* error) {
  if (ended_) {
    *error = UV_ECANCELED;
    return nullptr;
  }
  auto* watcher = new Watcher(this, std::move(fd), std::move(callback));
  *error = uv_poll_init(loop_, &watcher->poll_, watcher->fd());
  if (*error != 0) {
    delete watcher;
    return nullptr;
  }
  uv_timer_init(loop_, &watcher->timer_);  // can't fail
  watcher->poll_.data = watcher->timer_.data = watcher;
  open_.insert(watcher);
  *error = watcher->Watch(UV_READABLE);
  if (*error != 0) {
    watcher->Close();
    return nullptr;
  }
  if (life == Life::kBackground) {
    uv_unref(reinterpret_cast<uv_handle_t*>(&watcher->poll_));
    uv_unref(reinterpret_cast<uv_handle_t*>(&watcher->timer_));
  }
  return watcher;
}

void Watchers::CloseAll(std::function<void()> done) {
  ended_ = true;
  done_ = std::move(done);
  while (!open_.empty()) (*open_.begin())->Close();
  if (closing_ == 0) done_();
}

void Watchers::Closed(Watcher* watcher) {
  delete watcher;
  closing_ -= 1;
  if (ended_ && closing_ == 0) done_();
}

int Watcher::Watch(int events, int64_t timeout_ms) {
  uv_timer_stop(&timer_);
  if (timeout_ms >= 0) {
    auto ended = [](uv_timer_t* timer) { static_cast<Watcher*>(timer->data)->callback_(0); };
    uv_timer_start(&timer_, ended, static_cast<uint64_t>(timeout_ms), 0);
  }
  return uv_poll_start(&poll_, events, [](uv_poll_t* poll, int status, int ready) {
    auto* watcher = static_cast<Watcher*>(poll->data);
    watcher->callback_(status < 0 ? UV_READABLE : ready);
  });
}

void Watcher::Close() {
  if (owner_->open_.erase(this) == 0) return;
  owner_->closing_ += 1;
  const auto closed = [](uv_handle_t* handle) {
    auto* watcher = static_cast<Watcher*>(handle->data);
    if (--watcher->handles_ == 0) watcher->owner_->Closed(watcher);
  };
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), closed);
  // uv_close() has taken the descriptor out of the loop's epoll, which a shared description would
  // otherwise keep alive there.
  fd_.Reset();
}

}  // namespace ironsocket
