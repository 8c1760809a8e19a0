// SPDX-License-Identifier: MIT
// Bulk of the kernel engine: socket to pipe to socket, never through our memory. Only for streams
// of full records: a splice from a TLS socket moves one record a call, while recvmsg takes many. An
// empty record, one of another type and the end of the stream are left for recvmsg, which can tell
// them; an error is told to splice alone (net/tls/tls_sw.c).
#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "relay/relay_thread.h"
#include "relay/transfer.h"

namespace ironsocket {
namespace {

// A window gets this wide only where full reads follow each other.
constexpr uint32_t kBulkWindow = 64 * 1024;
// A full record takes two slots of a pipe, five where the kernel finds no two pages in a row.
constexpr size_t kSlotsPerRecord = 5;
constexpr size_t kSmallRecord = 12 * 1024;
constexpr size_t kCopiedAfterSmall = 1024 * 1024;  // bytes, before splice is tried again

// SPLICE_F_NONBLOCK, always: without it a TLS socket blocks whatever its own flags say, with it the
// other sockets don't mind.
ssize_t Splice(int from, int to, size_t length) {
  for (;;) {
    const ssize_t moved =
        splice(from, nullptr, to, nullptr, length, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (moved >= 0) return moved;
    if (errno != EINTR) return -errno;
  }
}

}  // namespace

// In TLS 1.2 recvmsg opens records straight into our buffer: one copy in all, for a fifth of the
// calls. In TLS 1.3 it is two, because the type stands behind the content (net/tls/tls_sw.c,
// tls_sw_recvmsg, zc_capable).
bool RelayThread::MaySpliceToBackend(const Session& session) {
  return session.suite->version == TlsVersion::kTls13 && session.rx.engine == EngineKind::kKernel &&
         session.rx_window >= kBulkWindow && session.client_readable && !session.no_splice_rx &&
         !session.backend_broken && session.bytes_from_client >= session.splice_from &&
         state_.kernel.splice_whole && session.post_handshake.hello_left == 0 && pipe_.Open();
}

// Fills the pipe with whole records. kGoOn with `*records_left`: call again; without: recvmsg has
// to look at what comes next.
RelayThread::Step RelayThread::SpliceToBackend(Session* session, size_t* budget,
                                               bool* records_left) {
  size_t length = 0;
  size_t records = 0;
  bool full_records = true;
  for (size_t slots = pipe_.slots(); slots >= kSlotsPerRecord && length < *budget && full_records;
       slots -= kSlotsPerRecord) {
    const ssize_t moved = Splice(session->client.get(), pipe_.write(), kMaxPlaintext);
    *records_left = moved > 0;
    if (moved < 0) {
      kernel_receiver_.OnSpliceError(session->rx, session->client.get(), static_cast<int>(-moved));
    }
    if (moved <= 0) break;
    length += static_cast<size_t>(moved);
    ++records;
    full_records = static_cast<size_t>(moved) >= kSmallRecord;
  }
  if (length == 0) return Step::kGoOn;
  kernel_receiver_.Count(session->rx, session->client.get(), length, records);
  session->post_handshake.OnData();
  session->bytes_from_client += length;
  *budget -= std::min(*budget, length);
  if (!full_records) {
    session->splice_from = session->bytes_from_client + kCopiedAfterSmall;
    *records_left = false;
  }
  return ForwardPipe(session, length);
}

RelayThread::Step RelayThread::ForwardPipe(Session* session, size_t length) {
  while (length > 0) {
    const ssize_t sent = Splice(pipe_.read(), session->backend.get(), length);
    if (sent > 0) {
      length -= static_cast<size_t>(sent);
      continue;
    }
    const int error = sent < 0 ? static_cast<int>(-sent) : EIO;
    if (error == EINVAL) session->no_splice_rx = true;
    if (!IsPassing(error) && error != EINVAL) {
      pipe_.Close();
      return BackendWriteFailed(session, error);
    }
    session->rx_window = Narrower(session->rx_window);
    if (!ParkPipe(&session->to_backend, length)) {
      ResetBoth(session, CloseReason::kInternalError);
      return Step::kEnded;
    }
    return error == EINVAL ? Step::kGoOn : WaitForRoom(session, error, Side::kBackend);
  }
  session->rx_window = Wider(session->rx_window);
  return Step::kGoOn;
}

// What is in the pipe, behind what is in `block`. False: no memory; the pipe is empty all the same.
bool RelayThread::ParkPipe(Block* block, size_t length) {
  if (!pool_.Reserve(block, length)) {
    pipe_.Close();
    return false;
  }
  while (length > 0) {
    const ssize_t got = read(pipe_.read(), block->data + block->end, length);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      pipe_.Close();
      return false;
    }
    block->end += static_cast<uint32_t>(got);
    length -= static_cast<size_t>(got);
  }
  return true;
}

bool RelayThread::MaySpliceToClient(const Session& session) {
  return session.tx.engine == EngineKind::kKernel && session.tx_window >= kBulkWindow &&
         !session.no_splice_tx && state_.kernel.splice_whole && pipe_.Open();
}

// One read of the backend, sent.
RelayThread::Step RelayThread::SpliceToClient(Session* session, size_t* budget) {
  const ssize_t got = Splice(session->backend.get(), pipe_.write(), session->tx_window);
  if (got == -EINVAL) {
    session->no_splice_tx = true;
    return Step::kGoOn;
  }
  if (got <= 0) return BackendReadEnded(session, static_cast<int>(-got));
  const size_t length = static_cast<size_t>(got);
  if (length == session->tx_window) session->tx_window = Wider(session->tx_window);
  *budget -= std::min(*budget, length);
  session->bytes_to_client += length;
  return SendPipe(session, length);
}

RelayThread::Step RelayThread::SendPipe(Session* session, size_t length) {
  while (length > 0) {
    const ssize_t sent = Splice(pipe_.read(), session->client.get(), length);
    if (sent > 0) {
      kernel_sender_.Count(session->tx, session->client.get(), static_cast<size_t>(sent));
      length -= static_cast<size_t>(sent);
      continue;
    }
    const int error = sent < 0 ? static_cast<int>(-sent) : EIO;
    if (!IsPassing(error) && !IsClientFault(session, error)) {
      pipe_.Close();
      ResetBoth(session, CloseReason::kClientReset);
      return Step::kEnded;
    }
    session->tx_window = Narrower(session->tx_window);
    if (!ParkPipe(&session->tx.unsent, length)) {
      ResetBoth(session, CloseReason::kInternalError);
      return Step::kEnded;
    }
    return IsPassing(error) ? WaitForRoom(session, error, Side::kClient) : Step::kGoOn;
  }
  return Step::kGoOn;
}

}  // namespace ironsocket
