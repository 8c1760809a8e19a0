// SPDX-License-Identifier: MIT
// Backend to client: bytes are read, sealed and sent, with what TLS has to say in between and at
// the end.
#include <sys/socket.h>

#include <algorithm>

#include "relay/relay_thread.h"
#include "relay/transfer.h"

namespace ironsocket {

void RelayThread::PumpToClient(Session* session) {
  size_t budget = kTurnBytes;
  for (;;) {
    if (FlushToClient(session) != Step::kGoOn) return;
    if (session->to_client_flow == Flow::kDone) return;
    if (KeyUpdateDue(session)) {
      if (!SendKeyUpdate(session)) return;
      continue;
    }
    if (WantsKernelTx(session)) OffloadSending(session);
    if (session->to_client_flow == Flow::kEnding && !session->close_notify_sent) {
      const uint8_t close_notify[] = {kAlertWarning, static_cast<uint8_t>(Alert::kCloseNotify)};
      if (!SealLastWord(session, close_notify)) {
        return ResetBoth(session, CloseReason::kInternalError);
      }
      session->close_notify_sent = true;
      continue;
    }
    if (session->to_client_flow == Flow::kEnding) {
      if (ShutClient(session)) session->to_client_flow = Flow::kDone;
      return;
    }
    if (!session->backend_readable) return;
    if (budget == 0) return Enqueue(session);
    if (ReadBackend(session, &budget) != Step::kGoOn) return;
  }
}

// One read of the backend, sealed. FlushToClient comes next.
RelayThread::Step RelayThread::ReadBackend(Session* session, size_t* budget) {
  if (MaySpliceToClient(*session)) return SpliceToClient(session, budget);
  RecordSender& sender = SenderOf(*session);
  std::array<iovec, RecordSender::kMaxPieces> pieces;
  const size_t count = sender.Room(session->tx, session->tx_window, pieces);
  size_t room = 0;
  for (size_t i = 0; i < count; ++i) room += pieces[i].iov_len;
  const ssize_t got = ReadPieces(session->backend.get(), {pieces.data(), count});
  if (got <= 0) return BackendReadEnded(session, static_cast<int>(-got));
  const size_t length = static_cast<size_t>(got);
  if (length < room && !session->backend_hangup) session->backend_readable = false;
  if (length == room) session->tx_window = Wider(session->tx_window);
  if (!sender.Seal(session->tx, length)) {
    ResetBoth(session, CloseReason::kInternalError);
    return Step::kEnded;
  }
  *budget -= std::min(*budget, length);
  session->bytes_to_client += length;
  return Step::kGoOn;
}

// A read of the backend that brought nothing; `error` 0: its FIN.
RelayThread::Step RelayThread::BackendReadEnded(Session* session, int error) {
  if (error == 0) {
    session->to_client_flow = Flow::kEnding;
    return Step::kGoOn;
  }
  if (!IsPassing(error)) {
    ResetBoth(session, CloseReason::kBackendReset);
    return Step::kEnded;
  }
  if (error == EAGAIN) {
    session->backend_readable = false;
  } else {
    Starve(session);
  }
  return Step::kBlocked;
}

RelayThread::Step RelayThread::FlushToClient(Session* session) {
  if (!session->client_writable && session->tx.pending()) return Step::kBlocked;
  int error = SenderOf(*session).Flush(session->tx, session->client.get());
  if (error != 0 && IsClientFault(session, -error)) {
    error = SenderOf(*session).Flush(session->tx, session->client.get());
  }
  if (error == 0) return Step::kGoOn;
  if (IsPassing(-error)) {
    session->tx_window = Narrower(session->tx_window);
    return WaitForRoom(session, -error, Side::kClient);
  }
  ResetBoth(session, CloseReason::kClientReset);
  return Step::kEnded;
}

// Whether a send failed for what the client had sent. Then it can be made again, and the client's
// bytes are read up to the fault.
bool RelayThread::IsClientFault(Session* session, int error) {
  if (session->rx.engine != EngineKind::kKernel ||
      !kernel_receiver_.TakeFault(session->rx, session->client.get(), error)) {
    return false;
  }
  session->client_readable = true;
  Enqueue(session);
  return true;
}

// Our FIN, once everything in front of it is TCP's. False: not yet, tried again soon.
bool RelayThread::ShutClient(Session* session) {
  if (!SenderOf(*session).Drained(session->tx, session->client.get())) {
    Starve(session);
    return false;
  }
  shutdown(session->client.get(), SHUT_WR);
  session->client_shut = true;
  return true;
}

// RFC 8446 section 5.5: new keys before the AEAD's limit, for what we send by ourselves, for what
// we receive by asking.
bool RelayThread::KeyUpdateDue(Session* session) {
  if (session->close_notify_sent || session->tx.keys.version != TlsVersion::kTls13) return false;
  const uint64_t limit = state_.key_update_records ? state_.key_update_records
                                                   : CipherOf(session->tx.keys.cipher).record_limit;
  // Not where the answer, or the question, would end the session.
  const bool kernel =
      session->rx.engine == EngineKind::kKernel || session->tx.engine == EngineKind::kKernel;
  const bool may_ask = !kernel || state_.kernel.rekey;
  if (may_ask && session->rx.keys.sequence >= limit && !session->key_update_requested) {
    session->key_update_request = true;
  }
  return session->key_update_owed || session->key_update_request ||
         session->tx.keys.sequence >= limit;
}

// Ours, or the answer to the client's: one answers all that came while we could not send (RFC 8446
// section 4.6.3).
bool RelayThread::SendKeyUpdate(Session* session) {
  const int error = SenderOf(*session).SealKeyUpdate(session->tx, session->key_update_request);
  if (error != 0) {
    EndForKeys(session, error);
    return false;
  }
  if (session->key_update_request) session->key_update_requested = true;
  session->key_update_request = session->key_update_owed = false;
  counters_.Add(Counter::kKeyUpdatesSent);
  return true;
}

}  // namespace ironsocket
