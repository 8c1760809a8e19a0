// SPDX-License-Identifier: MIT
// Client to backend: records are read and opened, what they carry is written, what ends the session
// is acted on.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "net/tcp_state.h"
#include "relay/relay_thread.h"
#include "relay/transfer.h"

namespace ironsocket {
namespace {

// What a record costs beside its bytes: a flood of tiny or empty ones uses up a turn as well.
constexpr size_t kRecordCost = 256;
constexpr size_t kKeyUpdateCost = 8 * 1024;  // two key derivations and a key schedule

}  // namespace

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
  size_t limit = session->rx_window;
  if (WantsKernelRx(session)) {
    // A busy stream reaches a record boundary only if we stop reading there.
    const size_t rest = userspace_receiver_.ToBoundary(session->rx);
    if (rest > 0) limit = rest;
    if (rest == 0) OffloadReceiving(session);
  }
  RecordReceiver& receiver = ReceiverOf(*session);
  if (!session->client_readable && !receiver.Ready(session->rx)) return Step::kBlocked;
  if (MaySpliceToBackend(*session)) {
    bool records_left = false;
    const Step step = SpliceToBackend(session, budget, &records_left);
    if (step != Step::kGoOn || records_left || *budget == 0) return step;
    if (!session->to_backend.empty()) return step;  // what is read must not overtake it
  }
  const ssize_t filled = receiver.Fill(session->rx, session->client.get(), limit);
  if (filled == -EAGAIN) session->client_readable = false;
  // Unless the end of the stream is behind it.
  if (receiver.ShortMeansEmpty() && filled > 0 && static_cast<size_t>(filled) < limit &&
      !session->client_hangup) {
    session->client_readable = false;
  }
  const Step step = OpenRecords(session, filled, budget);
  if (step == Step::kEnded) return step;
  const int error = filled < 0 && filled != -EALREADY ? static_cast<int>(-filled) : 0;
  if (error != 0 && !IsPassing(error)) {
    ResetBoth(session, CloseReason::kClientReset);
    return Step::kEnded;
  }
  receiver.Park(session->rx);
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
  RecordReceiver& receiver = ReceiverOf(*session);
  Gather gather;
  OpenedRecord record;
  Alert alert;
  RecordReceiver::Next next = RecordReceiver::Next::kMore;
  while (session->to_backend_flow == Flow::kOpen && *budget > 0 &&
         (next = receiver.NextRecord(session->rx, &record, &alert)) ==
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
  // A reset whose error another call had.
  if (filled == 0 && session->rx.engine == EngineKind::kKernel && !session->client_shut &&
      IsClosed(session->client.get())) {
    ResetBoth(session, CloseReason::kClientReset);
    return Step::kEnded;
  }
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
      return OnKeyUpdate(session);
    case Verdict::kNoRenegotiation: {
      if (session->close_notify_sent) return Step::kGoOn;  // nothing more can be said
      const uint8_t warning[] = {kAlertWarning, static_cast<uint8_t>(Alert::kNoRenegotiation)};
      if (SenderOf(*session).SealControl(session->tx, ContentType::kAlert, warning)) {
        return Step::kGoOn;
      }
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

RelayThread::Step RelayThread::OnKeyUpdate(Session* session) {
  counters_.Add(Counter::kKeyUpdatesReceived);
  session->key_update_requested = false;
  const int error = ReceiverOf(*session).NextKeys(session->rx, session->client.get());
  if (error == 0) return Step::kGoOn;
  EndForKeys(session, error);
  return Step::kEnded;
}

// Writes what was opened; what the backend does not take is parked with the session.
RelayThread::Step RelayThread::Forward(Session* session, Gather* gather) {
  std::span<iovec> left(gather->pieces.data(), gather->count);
  const bool full = gather->bytes >= session->rx_window / 2;
  gather->count = gather->bytes = 0;  // the pieces stay: `left` is made of them
  int error = 0;
  while (!left.empty() && !session->backend_broken) {
    const ssize_t sent = WritePieces(session->backend.get(), left);
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
    const ssize_t sent = WritePieces(session->backend.get(), {&piece, 1});
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
    if (session->rx.stuck) {
      // Its FIN is behind what can't be read, but TCP knows.
      session->client_readable = false;
      session->client_ended = IsClosed(session->client.get());
      return;
    }
    const ssize_t got = ReceiverOf(*session).Discard(session->rx, session->client.get(), budget);
    if (got > 0) {
      budget -= std::min(budget, static_cast<size_t>(got));
    } else if (got == 0) {
      session->client_ended = true;
    } else if (got == -EAGAIN) {
      session->client_readable = false;
    } else if (got == -EBADMSG) {
      continue;
    } else if (IsShortage(static_cast<int>(-got))) {
      return Starve(session);
    } else {
      return ResetBoth(session, CloseReason::kClientReset);
    }
  }
}

}  // namespace ironsocket
