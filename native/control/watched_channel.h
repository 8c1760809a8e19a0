// SPDX-License-Identifier: MIT
// A Channel on Node's loop: calls back for every message, also one whose descriptors were lost, and
// once when the peer is gone.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "control/channel.h"
#include "control/watcher.h"

namespace ironsocket {

class WatchedChannel {
 public:
  using OnMessage = std::function<void(std::string message, std::vector<UniqueFd> fds)>;
  using OnLost = std::function<void(std::string message)>;
  using OnClose = std::function<void()>;

  // Takes the descriptor. nullptr and `*status` when the loop can't watch it. Callbacks may call
  // any method.
  static std::shared_ptr<WatchedChannel> Open(Watchers* watchers, UniqueFd fd, OnMessage on_message,
                                              OnLost on_lost, OnClose on_close, Status* status);

  bool closed() const { return watcher_ == nullptr; }
  bool waiting() const { return channel_.waiting(); }
  // As Channel::Send(); ENOTCONN when closed.
  Status Send(std::string_view message, std::span<const int> fds);
  // As Channel::Finish(); nothing when closed.
  void Finish(int64_t until_ms);
  // Stops reading and closes; on_close is not called. Idempotent. Frees the callbacks.
  void Close();

 private:
  // The loop's other descriptors get their turn after so many messages; the rest is read in the
  // next one.
  static constexpr int kMessagesPerTurn = 64;

  explicit WatchedChannel(UniqueFd fd) : channel_(std::move(fd)) {}
  void OnEvents(int events);
  bool ReceiveOne();
  void WatchWhatIsNeeded();

  Channel channel_;
  Watcher* watcher_ = nullptr;
  OnMessage on_message_;
  OnLost on_lost_;
  OnClose on_close_;
};

}  // namespace ironsocket
