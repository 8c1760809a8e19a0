// SPDX-License-Identifier: MIT
// The last part of a session's way: every path by which it can end, as the table in docs/design.md
// has it. A client that is owed something (an alert, close_notify, our FIN) gets it and is then
// listened to until its FIN or kLingerMs: close() on unread bytes would send a reset that overtakes
// what was sent.
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "net/socket_options.h"
#include "relay/relay_thread.h"
#include "relay/transfer.h"

namespace ironsocket {
namespace {

void AddAddresses(LogLine& line, const Session& session) {
  line.Add("connection_id", ConnectionName(session.id))
      .Add("listener", session.listener->name)
      .Add("client_ip", session.client_address.ip())
      .Add("client_port", session.client_address.port())
      .Add("listen_ip", session.local_address.ip())
      .Add("listen_port", session.local_address.port());
  if (session.backend_address.family() == AF_UNSPEC ||
      session.backend_address.family() == AF_UNIX) {
    line.Add("server_ip", session.listener->backend);
  } else {
    line.Add("server_ip", session.backend_address.ip())
        .Add("server_port", session.backend_address.port());
  }
}

const char* EngineName(EngineKind engine) {
  return engine == EngineKind::kKernel ? "kernel" : "userspace";
}

// Which engine each direction ended with, and why the kernel had not both.
void AddEngines(LogLine& line, const Session& session) {
  line.Add("engine_tx", EngineName(session.tx.engine))
      .Add("engine_rx", EngineName(session.rx.engine));
  const std::string_view tx = ReasonText(session.tx.why);
  const std::string_view rx = ReasonText(session.rx.why);
  if (tx.empty() && rx.empty()) return;
  if (tx == rx || rx.empty()) {
    line.Add("engine_reason", tx);
  } else if (tx.empty()) {
    line.Add("engine_reason", rx);
  } else {
    line.Add("engine_reason_tx", tx).Add("engine_reason_rx", rx);
  }
}

}  // namespace

const char* ReasonName(CloseReason reason) {
  switch (reason) {
    case CloseReason::kNone:
      return "none";
    case CloseReason::kClosed:
      return "closed";
    case CloseReason::kTruncated:
      return "truncated";
    case CloseReason::kClientReset:
      return "client_reset";
    case CloseReason::kClientAlert:
      return "client_alert";
    case CloseReason::kProtocolFault:
      return "protocol_fault";
    case CloseReason::kBackendReset:
      return "backend_reset";
    case CloseReason::kBackendFailed:
      return "backend_failed";
    case CloseReason::kConnectTimeout:
      return "connect_timeout";
    case CloseReason::kIdleTimeout:
      return "idle_timeout";
    case CloseReason::kHalfClosedTimeout:
      return "half_closed_timeout";
    case CloseReason::kNoRekey:
      return "no_rekey";
    case CloseReason::kDrained:
      return "drained";
    case CloseReason::kStopped:
      return "worker_stopped";
    case CloseReason::kInternalError:
      return "internal_error";
  }
  return "unknown";
}

// Both directions have ended in order; close_notify and our FIN are on their way.
void RelayThread::Finish(Session* session) {
  if (session->reason == CloseReason::kNone) session->reason = CloseReason::kClosed;
  SetReset(session->backend.get(), false);
  BeginClosing(session);
}

// The client broke the protocol, or can't be served: a fatal alert for it, a reset for the backend.
void RelayThread::EndWithAlert(Session* session, CloseReason reason, Alert alert) {
  session->alert = alert;
  const uint8_t message[] = {kAlertFatal, static_cast<uint8_t>(alert)};
  if (session->close_notify_sent || !SealLastWord(session, message)) {
    return ResetBoth(session, reason);
  }
  session->reason = reason;
  BeginClosing(session);
}

// The next generation of keys was due and can't be had; -EOPNOTSUPP: from the kernel that has the
// session.
void RelayThread::EndForKeys(Session* session, int error) {
  if (error != -EOPNOTSUPP) {
    return EndWithAlert(session, CloseReason::kInternalError, Alert::kInternalError);
  }
  counters_.Add(Counter::kRekeysImpossible);
  EndWithAlert(session, CloseReason::kNoRekey, Alert::kInternalError);
}

// An idle session: close_notify, unless bytes of the answer are stuck, because then it would never
// arrive.
void RelayThread::EndWithCloseNotify(Session* session, CloseReason reason) {
  const uint8_t message[] = {kAlertWarning, static_cast<uint8_t>(Alert::kCloseNotify)};
  const bool stuck = session->tx.pending();
  if (stuck || (!session->close_notify_sent && !SealLastWord(session, message))) {
    return ResetBoth(session, reason);
  }
  session->close_notify_sent = true;
  session->reason = reason;
  BeginClosing(session);
}

// The alert behind which comes nothing but our FIN, in the same packet. False: it can't be sealed.
bool RelayThread::SealLastWord(Session* session, std::span<const uint8_t> alert) {
  session->tx.fin_follows = true;
  return SenderOf(*session).SealControl(session->tx, ContentType::kAlert, alert);
}

// The backend is let go; the client is still owed what is sealed, and our FIN.
void RelayThread::BeginClosing(Session* session) {
  CloseBackend(session);
  pool_.Release(&session->to_backend);
  ReceiverOf(*session).Forget(session->rx);
  session->phase = Phase::kClosing;
  session->probing = false;
  timers_.Arm(&session->timer, kLingerMs, now_ms_);
  ClosingTurn(session);
}

// Nothing more can or may be said: a reset to both sides. Never preceded by close_notify, so a cut
// answer does not look whole.
void RelayThread::ResetBoth(Session* session, CloseReason reason) {
  if (session->phase != Phase::kClosing) session->reason = reason;  // else it has its reason
  Bury(session);
}

// In order: everything has been sent, and what the client sent has been read.
void RelayThread::CloseClient(Session* session) {
  SetReset(session->client.get(), false);
  Bury(session);
}

// A reset, unless SetReset said otherwise.
void RelayThread::CloseBackend(Session* session) {
  if (!session->backend.valid()) return;
  epoll_.Remove(session->backend.get());
  session->backend.Reset();
}

void RelayThread::ClosingTurn(Session* session) {
  if (!session->client_shut) {
    const Step step = FlushToClient(session);
    if (step == Step::kEnded) return;
    if (step == Step::kGoOn) ShutClient(session);
  }
  DiscardClient(session);
  if (session->dead) return;
  if (session->client_ended && session->client_shut) CloseClient(session);
}

// The client had its time. What the kernel still has to send it may go on sending, unless it is we
// who have bytes left.
void RelayThread::ClosingTimeout(Session* session) {
  if (StillMoving(session, kLingerMs)) return;
  if (session->client_shut) return CloseClient(session);
  ResetBoth(session, session->reason);
}

// Whether a timeout would hit a peer that is slow but reading: bytes leave the kernel's queues long
// before the queue has room for more (SIOCOUTQ, tcp(7)). Looks twice where something is queued:
// armed again, it tells at the next timeout.
bool RelayThread::StillMoving(Session* session, uint32_t duration_ms) {
  uint32_t queued = 0;
  for (const UniqueFd* fd : {&session->client, &session->backend}) {
    int bytes = 0;
    if (fd->valid() && ioctl(fd->get(), SIOCOUTQ, &bytes) == 0)
      queued += static_cast<uint32_t>(bytes);
  }
  if (queued == 0 || (session->probing && queued >= session->queued_bytes)) return false;
  session->probing = true;
  session->queued_bytes = queued;
  timers_.Arm(&session->timer, std::min(duration_ms, kLingerMs), now_ms_);
  return true;
}

void RelayThread::LogConnected(Session* session) {
  if (!state_.log.Enabled(Level::kDebug)) return;
  LogLine line(state_.log, Level::kDebug, "proxy");
  line.Add("subevent", "server_connect");
  AddAddresses(line, *session);
  line.Send();
}

// The one line that says how a session went. Byte counts are of payload, both as the client sees
// them.
void RelayThread::LogEnd(Session* session) {
  const bool backend_fault = session->reason == CloseReason::kBackendFailed ||
                             session->reason == CloseReason::kConnectTimeout;
  const bool no_rekey = session->reason == CloseReason::kNoRekey;
  const Level level = backend_fault || no_rekey ? Level::kWarn : Level::kInfo;
  if (!state_.log.Enabled(level)) return;
  LogLine line(state_.log, level, "proxy");
  line.Add("subevent", "client_disconnect");
  AddAddresses(line, *session);
  line.Add("reason", ReasonName(session->reason));
  if (session->alert != Alert::kNone) line.Add("alert", AlertName(session->alert));
  if (backend_fault) {
    line.Add("error_msg", "backend can't be reached")
        .Add("error_desc", strerror(session->connect_error));
  }
  if (no_rekey) {
    line.Add("error_msg", "the kernel can't renew the keys of a session")
        .Add("error_desc", "offload: auto leaves TLS 1.3 to userspace on such kernels");
  }
  const Block& sni = session->sni;
  AddEngines(line, *session);
  line.Add("tls_version", VersionName(session->suite->version))
      .Add("ciphersuite", session->suite->name)
      .Add("group", session->group)
      .Add("resumed", session->resumed)
      .Add("sni", std::string_view(reinterpret_cast<const char*>(sni.data + sni.begin), sni.size()))
      .Add("bytes_from_client", session->bytes_from_client)
      .Add("bytes_to_client", session->bytes_to_client)
      .Add("duration_ms", now_ms_ - session->accepted_ms)
      .Send();
}

}  // namespace ironsocket
