// SPDX-License-Identifier: MIT
// The middle part of a session's way: bytes in both directions (to_backend.cc, to_client.cc) until
// each has ended. Reading stops where the other side does not take what was read (back-pressure),
// and after kTurnBytes, so that no session starves the others.
#include "relay/transfer.h"

#include "net/tcp_state.h"
#include "relay/relay_thread.h"

namespace ironsocket {
namespace {

bool IsHalfClosed(const Session& session) {
  return session.to_backend_flow != Flow::kOpen || session.to_client_flow != Flow::kOpen;
}

// Milliseconds without progress after which a session ends; 0: never.
uint32_t Timeout(const Session& session) {
  return IsHalfClosed(session) ? session.listener->half_closed_ms : session.listener->idle_ms;
}

// What waits in the session itself.
size_t Waiting(const Session& session) {
  return session.to_backend.size() + session.tx.unsent.size() + session.tx.control_count;
}

}  // namespace

void RelayThread::RelayTurn(Session* session) {
  const size_t waiting = Waiting(*session);
  const Flow flow_before[] = {session->to_backend_flow, session->to_client_flow};
  const uint64_t from_before = session->bytes_from_client;
  const uint64_t to_before = session->bytes_to_client;
  PumpToBackend(session);
  if (!session->dead && session->phase == Phase::kRelaying) PumpToClient(session);
  if (!session->dead && session->phase == Phase::kRelaying) CheckErrors(session);
  const uint64_t from_client = session->bytes_from_client - from_before;
  const uint64_t to_client = session->bytes_to_client - to_before;
  counters_.Add(Counter::kBytesFromClient, from_client);
  counters_.Add(Counter::kBytesToClient, to_client);
  if (session->dead || session->phase != Phase::kRelaying) return;
  if (session->to_backend_flow == Flow::kDone && session->to_client_flow == Flow::kDone) {
    return Finish(session);
  }
  const bool active = from_client + to_client > 0 || Waiting(*session) != waiting ||
                      session->to_backend_flow != flow_before[0] ||
                      session->to_client_flow != flow_before[1];
  ArmForState(session, active);
}

// Of the timer that a session has in its phase; 0: none.
uint32_t RelayThread::DurationOf(const Session& session) {
  switch (session.phase) {
    case Phase::kConnecting:
      return session.listener->connect_ms;
    case Phase::kRelaying:
      return Timeout(session);
    case Phase::kClosing:
      break;
  }
  return kLingerMs;
}

void RelayThread::ArmForState(Session* session, bool active) {
  if (!active) return;
  session->probing = false;
  const uint32_t duration = Timeout(*session);
  if (duration == 0) {
    session->timer.Cancel();
  } else {
    timers_.Arm(&session->timer, duration, now_ms_);
  }
}

void RelayThread::RelayTimeout(Session* session) {
  if (StillMoving(session, Timeout(*session))) return;
  if (!IsHalfClosed(*session)) return EndWithCloseNotify(session, CloseReason::kIdleTimeout);
  // An answer that never came to its end must not look whole.
  if (session->to_client_flow == Flow::kOpen) {
    EndWithAlert(session, CloseReason::kHalfClosedTimeout, Alert::kInternalError);
  } else {
    EndWithCloseNotify(session, CloseReason::kHalfClosedTimeout);
  }
}

// A peer took no more bytes. Its socket says when there is room; for memory nobody does, so that is
// tried again later.
RelayThread::Step RelayThread::WaitForRoom(Session* session, int error, Side side) {
  if (error != EAGAIN) {
    Starve(session);
  } else if (side == Side::kBackend) {
    session->backend_writable = false;
  } else {
    session->client_writable = false;
  }
  return Step::kBlocked;
}

// After EPOLLERR. With the kernel engine it may be an error of TLS, not of TCP: the read that gets
// there says which, or, where the kernel has lost it behind data (before 6.1.184 and 6.12.92),
// finds nothing and knows that there is one.
bool RelayThread::ClientIsDead(Session* session) {
  if (!session->client_error) return false;
  if (session->rx.engine != EngineKind::kKernel || IsClosed(session->client.get())) return true;
  session->client_error = false;
  if (session->rx.fault == Alert::kNone) session->rx.fault = Alert::kBadRecordMac;
  session->client_readable = true;
  Enqueue(session);
  return false;
}

// A dead socket that nobody reads from, because the other side is blocked, would otherwise be
// noticed only at the idle timeout.
void RelayThread::CheckErrors(Session* session) {
  if (session->queued) return;  // it has not read all it could
  if (session->to_client_flow != Flow::kDone && ClientIsDead(session)) {
    return ResetBoth(session, CloseReason::kClientReset);
  }
  if (!session->backend_error || session->backend_broken ||
      session->to_client_flow != Flow::kOpen) {
    return;
  }
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(session->backend.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  if (error == 0 || error == EPIPE) {
    session->backend_broken = true;
  } else {
    ResetBoth(session, CloseReason::kBackendReset);
  }
}

}  // namespace ironsocket
