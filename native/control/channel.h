// SPDX-License-Identifier: MIT
// One end of an AF_UNIX SOCK_SEQPACKET pair (unix(7)): whole messages with descriptors, in order.
// It connects keeper, master and worker; what is in flight outlives the sender. Used by one thread;
// never blocks.
#pragma once

#include <deque>
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
  static constexpr size_t kMaxQueued = 4'096;  // messages that wait for a peer that does not read

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
  // Sends, or queues while the socket is full. `fds` are borrowed. EMSGSIZE: over the limits;
  // ENOBUFS: the queue is full. A message for a peer that is gone is dropped: Receive() tells of
  // it.
  Status Send(std::string_view message, std::span<const int> fds = {});
  // Sends what is queued, as far as the socket takes it. Call when the descriptor is writable.
  Status Flush();
  bool waiting() const { return !queue_.empty(); }
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

  UniqueFd fd_;
  std::deque<Queued> queue_;
};

}  // namespace ironsocket
