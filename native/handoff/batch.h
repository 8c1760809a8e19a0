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
#include "handoff/refusal.h"
#include "net/unique_fd.h"

namespace ironsocket {

// One more goes along, the memfd: fewer than kMaxRights.
inline constexpr size_t kMaxBatchFds = 250;
inline constexpr size_t kMaxBatchBytes = 16 * 1024 * 1024;

// Donor. `fds` are borrowed, at most kMaxBatchFds; `prepared_us`: CLOCK_MONOTONIC, when it let go
// of the sessions. 0 or -errno: -EAGAIN, -ETOOMANYREFS and shortages pass, -EPIPE: the other side
// is gone.
int SendPrepare(int socket, uint64_t id, uint32_t sessions, int64_t prepared_us,
                std::span<const uint8_t> frames, std::span<const int> fds);

// kNone: the sessions are the other side's from now on. Else nothing was touched.
struct Answer {
  uint64_t id = 0;
  Refusal refusal = Refusal::kNone;
};
// 0 or -errno; -EPIPE at the end of the stream, -EBADMSG for what is no answer.
int ReceiveAnswer(int socket, Answer* answer);

// The last word of a donor that goes on with a batch that was not answered, and listens no more
// (SHUT_RD). Only then may it touch the sessions again: who finds the end of the stream without
// this takes them. 0 or -errno, as SendPrepare.
int SendTakenBack(int socket, uint64_t id);

// What a donor sends.
struct Prepare {
  uint64_t id = 0;
  bool taken_back = false;  // that batch; there is nothing else then
  uint32_t sessions = 0;
  int64_t prepared_us = 0;
  FrameBytes frames;
  std::vector<UniqueFd> fds;
};
// Recipient. 0 or -errno; -EPIPE at the end of the stream, -EBADMSG for a batch that must be
// refused, and `*refusal` says why (cut, of another version, with missing descriptors, not sealed):
// its `id` is set where it could be read, and everything that came with it is closed.
int ReceivePrepare(int socket, Prepare* prepare, Refusal* refusal);
int SendAnswer(int socket, const Answer& answer);

}  // namespace ironsocket
