// SPDX-License-Identifier: MIT
// Bytes from the other side of a handoff. Odd first byte: a frame as it is. Even: magic, length and
// checksum are made right first, so that the fields are reached. What is accepted becomes a
// session, whose own frame has to be accepted in turn and to say the same.
#include <fcntl.h>

#include <algorithm>
#include <vector>

#include "../native/frame-edit.h"
#include "../native/socket-pair.h"
#include "handoff/frame.h"
#include "handoff/receipt.h"
#include "loop/timers.h"
#include "net/socket_cookie.h"
#include "record-keys.h"

using namespace ironsocket;

namespace {

void Release(BufferPool& pool, Session* session) {
  session->timer.Cancel();
  for (Block* block :
       {&session->sni, &session->rx.partial, &session->to_backend, &session->tx.unsent}) {
    Require(block->size() <= BufferPool::kLargest);
    pool.Release(block);
  }
}

// A socket is the one of the frame only where it has its number and the kernel has keys exactly
// where the frame says so; these here have none.
void CheckReceipt(const DecodedSession& decoded) {
  static const SocketPair pair(SOCK_STREAM | SOCK_NONBLOCK);
  const int client = pair.ours.get(), backend = pair.theirs.get();
  const bool same_client = decoded.client_cookie == 0 || decoded.client_cookie == CookieOf(client);
  const bool same_backend = !decoded.has_backend || decoded.backend_cookie == 0 ||
                            decoded.backend_cookie == CookieOf(backend);
  const bool userspace = decoded.session.rx.engine == EngineKind::kUserspace &&
                         decoded.session.tx.engine == EngineKind::kUserspace;
  Require(AreSocketsOf(decoded, client, backend) == (same_client && same_backend && userspace));
  Require(!AreSocketsOf(decoded, -1, backend));
}

// The frame of what `frame` says; empty where it was refused.
FrameBytes Again(std::span<const uint8_t> frame) {
  static BufferPool pool;
  const size_t size = frame.size();
  DecodedSession decoded;
  const FrameFault fault = DecodeSession(&frame, &decoded);
  if (fault == FrameFault::kTruncated || fault == FrameFault::kTooLarge) {
    Require(frame.size() == size || decoded.session.id == 0);
  }
  if (fault != FrameFault::kNone) return {};
  Require(frame.size() < size);
  CheckReceipt(decoded);
  if (decoded.has_backend) decoded.session.backend = UniqueFd(open("/dev/null", O_CLOEXEC));
  const int64_t left_ms = decoded.deadline_left_ms;
  const int64_t age_ms = decoded.age_ms;
  Session session{};
  Require(Restore(std::move(decoded), pool, &session));
  const int64_t now_ms = session.accepted_ms + age_ms;
  Timers timers;
  // The longest that a donor has.
  if (left_ms >= 0) {
    timers.Arm(&session.timer, static_cast<uint32_t>(std::min<int64_t>(left_ms, UINT32_MAX)),
               now_ms);
  }
  FrameBytes out;
  EncodeSession(session, now_ms, &out);
  Release(pool, &session);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 1) return 0;
  std::vector<uint8_t> frame(bytes + 1, bytes + size);
  if (bytes[0] % 2 == 0) FrameEdit::Seal(&frame);
  const FrameBytes first = Again(frame);
  if (first.empty()) return 0;
  const FrameBytes second = Again(first);
  Require(first == second);
  return 0;
}
