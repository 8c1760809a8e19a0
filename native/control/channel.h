// SPDX-License-Identifier: MIT
// One end of an AF_UNIX SOCK_SEQPACKET pair (unix(7)): whole messages with descriptors, in order.
// It connects keeper, master and worker; what is in flight outlives the sender. Used by one thread;
// only Finish() blocks.
#pragma once

#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/status.h"
#include "net/unique_fd.h"

namespace ironsocket {

class Channel {
 public:
  // A message must fit into the socket's send buffer as a whole; larger texts travel as a memfd.
  static constexpr size_t kMaxMessage = 64 * 1024;
  static constexpr size_t kMaxFds = 250;       // below kMaxRights
  static constexpr size_t kMaxQueued = 4'096;  // messages that wait

  enum class Received {
    kMessage,
    kNothing,  // wait for readability
    kFdsLost,  // a message whose descriptors the kernel threw away (our file limit), or that was
               // too long: do not use it
    kClosed,   // the peer is gone
  };

  // A connected pair, close-on-exec.
  static Status Pair(UniqueFd* a, UniqueFd* b);

  // Takes the descriptor; sets O_NONBLOCK and FD_CLOEXEC.
  explicit Channel(UniqueFd fd);

  int fd() const { return fd_.get(); }
  // Sends, or queues while the socket is full or the machine short of something. `fds` are
  // borrowed. EMSGSIZE: over the limits; ENOBUFS: the queue is full; EMFILE: no copy of `fds` can
  // wait. A message for a peer that is gone is dropped: Receive() tells of it.
  Status Send(std::string_view message, std::span<const int> fds = {});
  // As Send(), but queues nothing, and so needs no copy of `fds`: EAGAIN, as long as something
  // waits or this one would have to; waits_for_room() and retry_at() say when to try again.
  Status TrySend(std::string_view message, std::span<const int> fds = {});
  // Sends what is queued, as far as it goes.
  Status Flush();
  // Sends what is queued, and waits for that up to `until_ms` of CLOCK_MONOTONIC: for an exit.
  void Finish(int64_t until_ms);
  bool waiting() const { return !queue_.empty(); }
  // Whether to Flush(), or TrySend() again, as soon as the descriptor is writable; and when to
  // without that, in milliseconds of CLOCK_MONOTONIC.
  bool waits_for_room() const { return (waiting() || refused_) && !retry_at_; }
  std::optional<int64_t> retry_at() const {
    return waiting() || refused_ ? retry_at_ : std::nullopt;
  }
  // Closes the descriptor and forgets what is queued.
  void Close();
  // Takes the next message and its descriptors (close-on-exec).
  Received Receive(std::string* message, std::vector<UniqueFd>* fds);

 private:
  struct Queued {
    std::string message;
    std::vector<UniqueFd> fds;
  };
  Status Enqueue(std::string_view message, std::span<const int> fds);
  // Notes what `error` of sendmsg(2) makes us wait for. False: nothing that passes.
  bool WaitsAfter(int error);

  UniqueFd fd_;
  std::deque<Queued> queue_;
  std::optional<int64_t> retry_at_;  // of what waits for a shortage to pass
  bool refused_ = false;             // by TrySend(), with which nothing has been sent since
};

}  // namespace ironsocket
