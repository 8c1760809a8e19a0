// SPDX-License-Identifier: MIT
#include "handoff/receipt.h"

#include <sys/socket.h>

#include <algorithm>
#include <span>

#include "net/socket_cookie.h"
#include "record/kernel_keys.h"

namespace ironsocket {
namespace {

bool IsStream(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

// An older donor's frame may have no cookie.
bool IsSocket(int fd, uint64_t cookie) {
  return cookie != 0 ? CookieOf(fd) == cookie : IsStream(fd);
}

// `ahead`: the frame's keys are the next ones, which the kernel does not have yet.
bool KernelAgrees(int fd, Direction direction, const TrafficKeys& keys, bool ahead,
                  uint64_t* sequence) {
  return ahead ? ReadSequence(fd, direction, keys, sequence) == 0
               : CompareKeys(fd, direction, keys, sequence);
}

// Between two samples records are guessed to be full, and a record that was read in pieces counts
// as several: the kernel may be further, but not behind by more than one for each byte.
bool AgreesReceiving(const Receiving& rx, int fd) {
  uint64_t sequence = 0;
  if (rx.engine == EngineKind::kUserspace) {
    return ReadSequence(fd, Direction::kReceive, rx.keys, &sequence) != 0;
  }
  if (!KernelAgrees(fd, Direction::kReceive, rx.keys, rx.keys_owed, &sequence)) return false;
  return rx.keys_owed || sequence + rx.unsampled >= rx.keys.sequence;
}

// Nobody but the donor made records, so the kernel can't be further than that either.
bool AgreesSending(const Sending& tx, int fd) {
  uint64_t sequence = 0;
  if (tx.engine == EngineKind::kUserspace) {
    return ReadSequence(fd, Direction::kSend, tx.keys, &sequence) != 0;
  }
  const auto controls = std::span(tx.controls).first(tx.control_count);
  const bool ahead = std::any_of(controls.begin(), controls.end(), [](const PendingControl& each) {
    return each.type == ContentType::kHandshake;
  });
  if (!KernelAgrees(fd, Direction::kSend, tx.keys, ahead, &sequence)) return false;
  return ahead || (sequence + tx.unsampled >= tx.keys.sequence &&
                   sequence <= tx.keys.sequence + tx.unsampled);
}

}  // namespace

bool AreSocketsOf(const DecodedSession& frame, int client, int backend) {
  const Session& session = frame.session;
  return IsSocket(client, frame.client_cookie) && AgreesReceiving(session.rx, client) &&
         AgreesSending(session.tx, client) &&
         (!frame.has_backend || IsSocket(backend, frame.backend_cookie));
}

}  // namespace ironsocket
