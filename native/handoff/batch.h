// SPDX-License-Identifier: MIT
// A batch of sessions on its way from one worker to the other: a SOCK_SEQPACKET pair that nobody
// else holds an end of, so that the peer's death is the end of the stream. PREPARE goes one way
// with the frames in a memfd and the sockets of both legs in the same message, its answer the other
// way. docs/handoff.md has the bytes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "handoff/frame.h"
#include "net/unique_fd.h"

namespace ironsocket {

// SCM_MAX_FD of the kernel is 253 (unix(7)); one is for the memfd.
inline constexpr size_t kMaxBatchFds = 250;
inline constexpr size_t kMaxBatchBytes = 16 * 1024 * 1024;

struct Prepare {
  uint64_t id = 0;
  uint32_t sessions = 0;
  int64_t prepared_us = 0;  // CLOCK_MONOTONIC, when the donor let go of them
  FrameBytes frames;
  std::vector<UniqueFd> fds;
};

enum class Answer : uint32_t {
  kAccepted = 1,  // the sessions are the other side's from now on
  kRefused = 2,   // nothing was touched: they go on here
};

// Donor. `fds` are borrowed, at most kMaxBatchFds; `prepared_us` as above. 0 or -errno: -EAGAIN,
// -ETOOMANYREFS and shortages pass, -EPIPE: the other side is gone.
int SendPrepare(int socket, uint64_t id, uint32_t sessions, int64_t prepared_us,
                std::span<const uint8_t> frames, std::span<const int> fds);
// 0 or -errno; -EPIPE at the end of the stream, -EBADMSG for what is no answer.
int ReceiveAnswer(int socket, uint64_t* id, Answer* answer);

// Recipient. 0 or -errno; -EPIPE at the end of the stream, -EBADMSG for a batch that must be
// refused (cut, of another version, with missing descriptors, not sealed): its `id` is set where it
// could be read, and everything that came with it is closed.
int ReceivePrepare(int socket, Prepare* prepare);
int SendAnswer(int socket, uint64_t id, Answer answer);

}  // namespace ironsocket
