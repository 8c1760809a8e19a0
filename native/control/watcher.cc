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
  watcher->poll_.data = watcher;
  open_.insert(watcher);
  *error = watcher->Watch(UV_READABLE);
  if (*error != 0) {
    watcher->Close();
    return nullptr;
  }
  if (life == Life::kBackground) uv_unref(reinterpret_cast<uv_handle_t*>(&watcher->poll_));
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

int Watcher::Watch(int events) {
  return uv_poll_start(&poll_, events, [](uv_poll_t* poll, int status, int ready) {
    auto* watcher = static_cast<Watcher*>(poll->data);
    watcher->callback_(status < 0 ? UV_READABLE : ready);
  });
}

void Watcher::Close() {
  if (owner_->open_.erase(this) == 0) return;
  owner_->closing_ += 1;
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), [](uv_handle_t* handle) {
    auto* watcher = static_cast<Watcher*>(handle->data);
    watcher->owner_->Closed(watcher);
  });
  // uv_close() has taken the descriptor out of the loop's epoll, which a shared description would
  // otherwise keep alive there.
  fd_.Reset();
}

}  // namespace ironsocket
