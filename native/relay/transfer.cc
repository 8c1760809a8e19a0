// SPDX-License-Identifier: MIT
// The middle part of a session's way: bytes in both directions until each has ended. Reading stops
// where the other side does not take what was read (back-pressure), and after kTurnBytes, so that
// no session starves the others.
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "net/shortage.h"
#include "relay/relay_thread.h"

namespace ironsocket {
namespace {

constexpr size_t kTurnBytes = 512 * 1024;  // per direction
constexpr uint32_t kMinWindow = kMaxPlaintext;
constexpr uint32_t kMaxWindow = 16 * kMaxPlaintext;
// What a record costs beside its bytes: a flood of tiny or empty ones uses up a turn as well.
constexpr size_t kRecordCost = 256;
constexpr size_t kKeyUpdateCost = 8 * 1024;  // two key derivations and a key schedule

// Nothing is wrong with the connection: there is no room, or no memory, at the moment.
bool IsPassing(int error) { return error == EAGAIN || IsShortage(error); }

// Bytes written, or -errno when none were.
ssize_t Write(int fd, std::span<iovec> pieces) {
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  for (;;) {
    const ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno != EINTR) return -errno;
  }
}

ssize_t Read(int fd, std::span<iovec> pieces) {
  for (;;) {
    const ssize_t got = readv(fd, pieces.data(), static_cast<int>(pieces.size()));
    if (got >= 0) return got;
    if (errno != EINTR) return -errno;
  }
}

// Moves `pieces` past the first `bytes`, dropping those that are used up.
std::span<iovec> Advance(std::span<iovec> pieces, size_t bytes) {
  while (!pieces.empty() && bytes >= pieces[0].iov_len) {
    bytes -= pieces[0].iov_len;
    pieces = pieces.subspan(1);
  }
  if (!pieces.empty()) {
    pieces[0].iov_base = static_cast<uint8_t*>(pieces[0].iov_base) + bytes;
    pieces[0].iov_len -= bytes;
  }
  return pieces;
}

// The next read follows what the other side takes: twice as much after a full round, half after a
// blocked one.
uint32_t Wider(uint32_t window) { return std::min(window * 2, kMaxWindow); }
uint32_t Narrower(uint32_t window) { return std::max(window / 2, kMinWindow); }

bool IsHalfClosed(const Session& session) {
  return session.to_backend_flow != Flow::kOpen || session.to_client_flow != Flow::kOpen;
}

// Milliseconds without progress after which a session ends; 0: never.
uint32_t Timeout(const Session& session) {
  return IsHalfClosed(session) ? session.listener->half_closed_ms : session.listener->idle_ms;
}

}  // namespace

void RelayThread::RelayTurn(Session* session) {
  const size_t waiting = session->to_backend.size() + session->tx.unsent.size();
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
  const bool active = from_client + to_client > 0 ||
                      session->to_backend.size() + session->tx.unsent.size() != waiting ||
                      session->to_backend_flow != flow_before[0] ||
                      session->to_client_flow != flow_before[1];
  ArmForState(session, active);
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

// --- client to backend

void RelayThread::PumpToBackend(Session* session) {
  size_t budget = kTurnBytes;
  for (;;) {
    if (DeliverParked(session) != Step::kGoOn) return;
    if (session->to_backend_flow == Flow::kEnding) {
      shutdown(session->backend.get(), SHUT_WR);
      session->to_backend_flow = Flow::kDone;
    }
    if (session->to_backend_flow == Flow::kDone) return DiscardClient(session);
    if (budget == 0) return Enqueue(session);
    if (ReadClient(session, &budget) != Step::kGoOn) return;
  }
}

// One read, and every record of it. kBlocked: nothing more to do in this turn.
RelayThread::Step RelayThread::ReadClient(Session* session, size_t* budget) {
  if (!session->client_readable && !receiver_.Ready(session->rx)) return Step::kBlocked;
  const size_t limit = session->rx_window;
  const ssize_t filled = receiver_.Fill(session->rx, session->client.get(), limit);
  if (filled == -EAGAIN) session->client_readable = false;
  // A short read has emptied the socket (epoll(7), edge-triggered), unless the end of the stream is
  // behind it.
  if (filled > 0 && static_cast<size_t>(filled) < limit && !session->client_hangup) {
    session->client_readable = false;
  }
  const Step step = OpenRecords(session, filled, budget);
  if (step == Step::kEnded) return step;
  const int error = filled < 0 && filled != -EALREADY ? static_cast<int>(-filled) : 0;
  if (error != 0 && !IsPassing(error)) {
    ResetBoth(session, CloseReason::kClientReset);
    return Step::kEnded;
  }
  receiver_.Park(session->rx);
  if (IsShortage(error)) Starve(session);
  if (session->to_backend_flow != Flow::kOpen) pool_.Release(&session->rx.partial);
  return step;
}

// Short contents are moved together: they come in order out of one buffer, so there is room in
// front.
void RelayThread::Gather::Add(std::span<uint8_t> content) {
  bytes += content.size();
  iovec* last = count > 0 ? &pieces[count - 1] : nullptr;
  if (last && content.size() < kCopied) {
    std::memmove(static_cast<uint8_t*>(last->iov_base) + last->iov_len, content.data(),
                 content.size());
    last->iov_len += content.size();
  } else {
    pieces[count++] = {content.data(), content.size()};
  }
}

// Opens what Fill brought and forwards the application data. Records behind a blocked backend stay
// closed.
RelayThread::Step RelayThread::OpenRecords(Session* session, ssize_t filled, size_t* budget) {
  Gather gather;
  OpenedRecord record;
  Alert alert;
  RecordReceiver::Next next = RecordReceiver::Next::kMore;
  while (session->to_backend_flow == Flow::kOpen && *budget > 0 &&
         (next = receiver_.NextRecord(session->rx, &record, &alert)) ==
             RecordReceiver::Next::kRecord) {
    *budget -= std::min(*budget, record.wire_length + kRecordCost);
    const Judgement judgement = Judge(session->rx.keys.version, record, &session->post_handshake);
    if (judgement.verdict != Verdict::kData) {
      // What came before the record that ends the session was whole.
      const bool last =
          judgement.verdict == Verdict::kPeerAlert || judgement.verdict == Verdict::kFault;
      if (last && Forward(session, &gather) == Step::kEnded) return Step::kEnded;
      if (OnControl(session, judgement) == Step::kEnded) return Step::kEnded;
      if (record.type == ContentType::kHandshake) *budget -= std::min(*budget, kKeyUpdateCost);
      continue;
    }
    const std::span<uint8_t> content = record.content;
    session->bytes_from_client += content.size();
    gather.Add(content);
    if (gather.count == Gather::kPieces) {
      const Step step = Forward(session, &gather);
      if (step != Step::kGoOn) return step;
    }
  }
  const Step forwarded = Forward(session, &gather);
  if (forwarded == Step::kEnded) return forwarded;
  if (session->to_backend_flow != Flow::kOpen) return Step::kGoOn;
  if (next == RecordReceiver::Next::kFault) {
    EndWithAlert(session, CloseReason::kProtocolFault, alert);
    return Step::kEnded;
  }
  if (forwarded == Step::kBlocked) return forwarded;
  if (next == RecordReceiver::Next::kRecord) return Step::kGoOn;  // the turn ends, records are left
  if (filled == 0) {
    EndOfClient(session);
    return session->dead ? Step::kEnded : Step::kGoOn;
  }
  return session->client_readable || filled == -EALREADY ? Step::kGoOn : Step::kBlocked;
}

RelayThread::Step RelayThread::OnControl(Session* session, const Judgement& judgement) {
  switch (judgement.verdict) {
    case Verdict::kData:
    case Verdict::kIgnore:
      return Step::kGoOn;
    case Verdict::kCloseNotify:
      session->close_notify_received = true;
      session->to_backend_flow = Flow::kEnding;
      return Step::kGoOn;
    case Verdict::kKeyUpdateRequested:
      session->key_update_owed = true;
      [[fallthrough]];
    case Verdict::kKeyUpdate:
      counters_.Add(Counter::kKeyUpdatesReceived);
      session->key_update_requested = false;
      aead_.Forget(session->rx.keys.id);
      if (NextGeneration(&session->rx.keys)) return Step::kGoOn;
      EndWithAlert(session, CloseReason::kInternalError, Alert::kInternalError);
      return Step::kEnded;
    case Verdict::kNoRenegotiation: {
      if (session->close_notify_sent) return Step::kGoOn;  // nothing more can be said
      const uint8_t warning[] = {kAlertWarning, static_cast<uint8_t>(Alert::kNoRenegotiation)};
      if (sender_.SealControl(session->tx, ContentType::kAlert, warning)) return Step::kGoOn;
      ResetBoth(session, CloseReason::kInternalError);
      return Step::kEnded;
    }
    case Verdict::kPeerAlert:
      session->alert = judgement.alert;
      ResetBoth(session, CloseReason::kClientAlert);
      return Step::kEnded;
    case Verdict::kFault:
      EndWithAlert(session, CloseReason::kProtocolFault, judgement.alert);
      return Step::kEnded;
  }
  return Step::kEnded;
}

// Writes what was opened; what the backend does not take is parked with the session.
RelayThread::Step RelayThread::Forward(Session* session, Gather* gather) {
  std::span<iovec> left(gather->pieces.data(), gather->count);
  const bool full = gather->bytes >= session->rx_window / 2;
  gather->count = gather->bytes = 0;  // the pieces stay: `left` is made of them
  int error = 0;
  while (!left.empty() && !session->backend_broken) {
    const ssize_t sent = Write(session->backend.get(), left);
    if (sent < 0) {
      error = static_cast<int>(-sent);
      break;
    }
    left = Advance(left, static_cast<size_t>(sent));
  }
  if (left.empty()) {
    if (full) session->rx_window = Wider(session->rx_window);
    return Step::kGoOn;
  }
  if (session->backend_broken) return Step::kGoOn;
  if (!IsPassing(error)) return BackendWriteFailed(session, error);
  session->rx_window = Narrower(session->rx_window);
  for (const iovec& piece : left) {
    const std::span<const uint8_t> bytes(static_cast<const uint8_t*>(piece.iov_base),
                                         piece.iov_len);
    if (pool_.Append(&session->to_backend, bytes)) continue;
    ResetBoth(session, CloseReason::kInternalError);
    return Step::kEnded;
  }
  return WaitForRoom(session, error, Side::kBackend);
}

RelayThread::Step RelayThread::DeliverParked(Session* session) {
  Block& parked = session->to_backend;
  while (!parked.empty() && !session->backend_broken) {
    if (!session->backend_writable) return Step::kBlocked;
    iovec piece{parked.data + parked.begin, parked.size()};
    const ssize_t sent = Write(session->backend.get(), {&piece, 1});
    const int error = sent < 0 ? static_cast<int>(-sent) : 0;
    if (IsPassing(error)) return WaitForRoom(session, error, Side::kBackend);
    if (error != 0) {
      if (BackendWriteFailed(session, error) == Step::kEnded) return Step::kEnded;
      break;
    }
    parked.begin += static_cast<uint32_t>(sent);
  }
  pool_.Release(&parked);
  return Step::kGoOn;
}

// EPIPE: the backend has sent its FIN before it refused our bytes (tcp_reset() in
// net/ipv4/tcp_input.c), so its answer is whole and still has to be delivered. Any other error is a
// reset.
RelayThread::Step RelayThread::BackendWriteFailed(Session* session, int error) {
  if (error != EPIPE) {
    ResetBoth(session, CloseReason::kBackendReset);
    return Step::kEnded;
  }
  session->backend_broken = true;
  session->backend_readable = session->backend_hangup = true;
  return Step::kGoOn;
}

// The client's FIN without close_notify: everything that was whole has been forwarded, a record
// that was cut has not.
void RelayThread::EndOfClient(Session* session) {
  session->client_ended = true;
  counters_.Add(Counter::kTruncations);
  session->reason = CloseReason::kTruncated;
  if (session->listener->reset_on_truncation) {
    return ResetBoth(session, CloseReason::kTruncated);
  }
  session->to_backend_flow = Flow::kEnding;
}

// The client has said that it is done: what it still sends is of no interest, but its FIN or RST
// is.
void RelayThread::DiscardClient(Session* session) {
  for (size_t budget = kTurnBytes; session->client_readable && !session->client_ended;) {
    if (budget == 0) return Enqueue(session);
    iovec piece{scratch_.get(), std::min(BufferPool::kLargest, budget)};
    const ssize_t got = Read(session->client.get(), {&piece, 1});
    if (got > 0) {
      budget -= static_cast<size_t>(got);
    } else if (got == 0) {
      session->client_ended = true;
    } else if (got == -EAGAIN) {
      session->client_readable = false;
    } else if (IsShortage(static_cast<int>(-got))) {
      return Starve(session);
    } else {
      return ResetBoth(session, CloseReason::kClientReset);
    }
  }
}

// --- backend to client

void RelayThread::PumpToClient(Session* session) {
  size_t budget = kTurnBytes;
  for (;;) {
    if (FlushToClient(session) != Step::kGoOn) return;
    if (session->to_client_flow == Flow::kDone) return;
    if (KeyUpdateDue(session)) {
      if (!SendKeyUpdate(session)) return;
      continue;
    }
    if (session->to_client_flow == Flow::kEnding && !session->close_notify_sent) {
      const uint8_t close_notify[] = {kAlertWarning, static_cast<uint8_t>(Alert::kCloseNotify)};
      if (!sender_.SealControl(session->tx, ContentType::kAlert, close_notify)) {
        return ResetBoth(session, CloseReason::kInternalError);
      }
      session->close_notify_sent = true;
      continue;
    }
    if (session->to_client_flow == Flow::kEnding) {
      shutdown(session->client.get(), SHUT_WR);
      session->client_shut = true;
      session->to_client_flow = Flow::kDone;
      return;
    }
    if (!session->backend_readable) return;
    if (budget == 0) return Enqueue(session);
    if (ReadBackend(session, &budget) != Step::kGoOn) return;
  }
}

// One read of the backend, sealed. FlushToClient comes next.
RelayThread::Step RelayThread::ReadBackend(Session* session, size_t* budget) {
  std::array<iovec, RecordSender::kMaxPieces> pieces;
  const size_t count = sender_.Room(session->tx, session->tx_window, pieces);
  size_t room = 0;
  for (size_t i = 0; i < count; ++i) room += pieces[i].iov_len;
  const ssize_t got = Read(session->backend.get(), {pieces.data(), count});
  if (got == 0) {
    session->to_client_flow = Flow::kEnding;
    return Step::kGoOn;
  }
  if (got < 0 && IsPassing(static_cast<int>(-got))) {
    if (got == -EAGAIN) session->backend_readable = false;
    if (got != -EAGAIN) Starve(session);
    return Step::kBlocked;
  }
  if (got < 0) {
    ResetBoth(session, CloseReason::kBackendReset);
    return Step::kEnded;
  }
  const size_t length = static_cast<size_t>(got);
  if (length < room && !session->backend_hangup) session->backend_readable = false;
  if (length == room) session->tx_window = Wider(session->tx_window);
  if (!sender_.Seal(session->tx, length)) {
    ResetBoth(session, CloseReason::kInternalError);
    return Step::kEnded;
  }
  *budget -= std::min(*budget, length);
  session->bytes_to_client += length;
  return Step::kGoOn;
}

RelayThread::Step RelayThread::FlushToClient(Session* session) {
  if (!session->client_writable && !session->tx.unsent.empty()) return Step::kBlocked;
  const int error = sender_.Flush(session->tx, session->client.get());
  if (error == 0) return Step::kGoOn;
  if (IsPassing(-error)) {
    session->tx_window = Narrower(session->tx_window);
    return WaitForRoom(session, -error, Side::kClient);
  }
  ResetBoth(session, CloseReason::kClientReset);
  return Step::kEnded;
}

// RFC 8446 section 5.5: new keys before the AEAD's limit, for what we send by ourselves, for what
// we receive by asking.
bool RelayThread::KeyUpdateDue(Session* session) {
  if (session->close_notify_sent || session->tx.keys.version != TlsVersion::kTls13) return false;
  const uint64_t limit = state_.key_update_records ? state_.key_update_records
                                                   : CipherOf(session->tx.keys.cipher).record_limit;
  if (session->rx.keys.sequence >= limit && !session->key_update_requested) {
    session->key_update_request = true;
  }
  return session->key_update_owed || session->key_update_request ||
         session->tx.keys.sequence >= limit;
}

// Ours, or the answer to the client's: one answers all that came while we could not send (RFC 8446
// section 4.6.3).
bool RelayThread::SendKeyUpdate(Session* session) {
  uint8_t message[kKeyUpdateLength];
  WriteKeyUpdate(session->key_update_request, message);
  const uint64_t old_id = session->tx.keys.id;
  if (!sender_.SealControl(session->tx, ContentType::kHandshake, message) ||
      !NextGeneration(&session->tx.keys)) {
    ResetBoth(session, CloseReason::kInternalError);
    return false;
  }
  aead_.Forget(old_id);
  if (session->key_update_request) session->key_update_requested = true;
  session->key_update_request = session->key_update_owed = false;
  counters_.Add(Counter::kKeyUpdatesSent);
  return true;
}

// A dead socket that nobody reads from, because the other side is blocked, would otherwise be
// noticed only at the idle timeout.
void RelayThread::CheckErrors(Session* session) {
  if (session->queued) return;  // it has not read all it could
  if (session->client_error && session->to_client_flow != Flow::kDone) {
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
