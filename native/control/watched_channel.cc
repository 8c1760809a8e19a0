// SPDX-License-Identifier: MIT
#include "control/watched_channel.h"

#include <fcntl.h>

#include <algorithm>

#include "loop/clock.h"

namespace ironsocket {

std::shared_ptr<WatchedChannel> WatchedChannel::Open(Watchers* watchers, UniqueFd fd,
                                                     OnMessage on_message, OnLost on_lost,
                                                     OnClose on_close, Status* status) {
  // The watcher owns and closes what it watches, so it gets a duplicate.
  UniqueFd watched(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!watched.valid()) {
    *status = Status::FromErrno("fcntl");
    return nullptr;
  }
  std::shared_ptr<WatchedChannel> self(new WatchedChannel(std::move(fd)));
  self->on_message_ = std::move(on_message);
  self->on_lost_ = std::move(on_lost);
  self->on_close_ = std::move(on_close);
  int error = 0;
  self->watcher_ = watchers->Open(
      std::move(watched), Watchers::Life::kKeepsProcess,
      [self](int events) { self->OnEvents(events); }, &error);
  if (error != 0) *status = {-error, "uv_poll_start"};
  return error == 0 ? self : nullptr;
}

Status WatchedChannel::Send(std::string_view message, std::span<const int> fds) {
  if (closed()) return {ENOTCONN, "sendmsg"};
  Status status = channel_.Send(message, fds);
  WatchWhatIsNeeded();
  return status;
}

void WatchedChannel::Finish(int64_t until_ms) {
  if (!closed()) channel_.Finish(until_ms);
}

void WatchedChannel::Close() {
  if (closed()) return;
  std::exchange(watcher_, nullptr)->Close();
  channel_.Close();
  on_message_ = nullptr;
  on_lost_ = nullptr;
  on_close_ = nullptr;
}

void WatchedChannel::OnEvents(int events) {
  if (channel_.waiting()) {
    // What can't be sent any more is lost with the peer, which reading shows.
    channel_.Flush();
    WatchWhatIsNeeded();
  }
  if (!(events & UV_READABLE)) return;
  for (int i = 0; i < kMessagesPerTurn && !closed(); ++i) {
    if (!ReceiveOne()) return;
  }
}

bool WatchedChannel::ReceiveOne() {
  std::string message;
  std::vector<UniqueFd> fds;
  Channel::Received received = channel_.Receive(&message, &fds);
  if (received == Channel::Received::kNothing) return false;
  if (received == Channel::Received::kMessage) {
    OnMessage on_message = on_message_;  // outlives a Close() from within
    on_message(std::move(message), std::move(fds));
    return true;
  }
  if (received == Channel::Received::kFdsLost) {
    OnLost on_lost = on_lost_;
    on_lost(std::move(message));
    return true;
  }
  OnClose on_close = std::move(on_close_);
  Close();
  on_close();
  return false;
}

void WatchedChannel::WatchWhatIsNeeded() {
  if (closed()) return;
  const std::optional<int64_t> retry_at = channel_.retry_at();
  const int64_t timeout = retry_at ? std::max<int64_t>(0, *retry_at - NowMs()) : -1;
  watcher_->Watch(UV_READABLE | (channel_.waits_for_room() ? UV_WRITABLE : 0), timeout);
}

}  // namespace ironsocket
