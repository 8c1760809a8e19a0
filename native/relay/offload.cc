// SPDX-License-Identifier: MIT
// From userspace to the kernel, for each direction by itself: at a record boundary, at once or
// after `offload_after` bytes. There is no way back. A direction that the kernel refuses stays
// where it is.
#include "record/offload.h"

#include <cerrno>
#include <cstring>

#include "relay/relay_thread.h"

namespace ironsocket {
namespace {

constexpr int64_t kTellRefusalEveryMs = 10'000;

// Whether a direction that has carried `bytes` is to go over at the next record boundary.
bool IsWanted(NotOffloaded* why, uint64_t bytes, const OffloadPolicy& policy) {
  if (*why == NotOffloaded::kFewBytes && bytes >= policy.after) *why = NotOffloaded::kNextBoundary;
  return *why == NotOffloaded::kNextBoundary;
}

}  // namespace

const char* EnginesName(const Session& session) {
  const auto kernel = [](EngineKind engine, NotOffloaded why) {
    return engine == EngineKind::kKernel || why == NotOffloaded::kNextBoundary;
  };
  const bool tx = kernel(session.tx.engine, session.tx.why);
  const bool rx = kernel(session.rx.engine, session.rx.why);
  if (tx && rx) return "kernel";
  return tx ? "kernel-tx" : rx ? "kernel-rx" : "userspace";
}

RecordReceiver& RelayThread::ReceiverOf(const Session& session) {
  if (session.rx.engine == EngineKind::kKernel) return kernel_receiver_;
  return userspace_receiver_;
}

bool RelayThread::IsKernel(const Session& session) {
  return session.rx.engine == EngineKind::kKernel && session.tx.engine == EngineKind::kKernel;
}

RecordSender& RelayThread::SenderOf(const Session& session) {
  if (session.tx.engine == EngineKind::kKernel) return kernel_sender_;
  return userspace_sender_;
}

// At the start of a session, when its leftover bytes are in place. `ulp_error`: errno with
// which its socket did not get the ULP, 0 where it has it or was not to.
void RelayThread::ChooseEngines(Session* session, int ulp_error) {
  const OffloadPolicy& policy = session->listener->offload;
  const auto choose = [&](Direction direction) {
    if (policy.mode != OffloadMode::kUserspace && session->client_address.family() == AF_UNIX) {
      return NotOffloaded::kNotTcp;
    }
    const NotOffloaded why =
        ChooseEngine(state_.kernel, policy.mode, session->suite->version, session->suite->cipher,
                     direction, session->tx.max_content);
    if (why != NotOffloaded::kNone) return why;
    if (ulp_error != 0) {
      OffloadRefused(*session, direction == Direction::kSend ? "tx" : "rx", ulp_error);
      return NotOffloaded::kRefused;
    }
    return policy.after > 0 ? NotOffloaded::kFewBytes : NotOffloaded::kNextBoundary;
  };
  session->rx.why = choose(Direction::kReceive);
  session->tx.why = choose(Direction::kSend);
  if (WantsKernelRx(session) && session->rx.partial.empty()) OffloadReceiving(session);
  if (WantsKernelTx(session) && !session->tx.pending()) OffloadSending(session);
}

bool RelayThread::WantsKernelRx(Session* session) {
  return IsWanted(&session->rx.why, session->bytes_from_client, session->listener->offload);
}

bool RelayThread::WantsKernelTx(Session* session) {
  return IsWanted(&session->tx.why, session->bytes_to_client, session->listener->offload);
}

void RelayThread::OffloadReceiving(Session* session) {
  const uint64_t old_id = session->rx.keys.id;
  if (const int error = kernel_receiver_.Begin(session->rx, session->client.get())) {
    session->rx.why = NotOffloaded::kRefused;
    return OffloadRefused(*session, "rx", -error);
  }
  aead_.Forget(old_id);
  // What is queued already was announced before: nobody will do so again.
  session->client_readable = true;
  counters_.Add(Counter::kOffloadsRx);
  counters_.Add(Counter::kSessionsKernelRx);
  if (IsKernel(*session)) counters_.Add(Counter::kSessionsKernel);
}

void RelayThread::OffloadSending(Session* session) {
  const uint64_t old_id = session->tx.keys.id;
  if (const int error = kernel_sender_.Begin(session->tx, session->client.get())) {
    session->tx.why = NotOffloaded::kRefused;
    return OffloadRefused(*session, "tx", -error);
  }
  aead_.Forget(old_id);
  counters_.Add(Counter::kOffloadsTx);
  counters_.Add(Counter::kSessionsKernelTx);
  if (IsKernel(*session)) counters_.Add(Counter::kSessionsKernel);
}

// The probe had found that it can: somebody should know, but not once a session. ENOTCONN is about
// a client that has gone, or has sent its FIN, before it was accepted.
void RelayThread::OffloadRefused(const Session& session, const char* direction, int error) {
  if (error == ENOTCONN) return;
  counters_.Add(Counter::kOffloadsRefused);
  if (now_ms_ < refusal_told_ms_ + kTellRefusalEveryMs) return;
  refusal_told_ms_ = now_ms_;
  LogLine(state_.log, Level::kWarn, "offload_refused")
      .Add("connection_id", ConnectionName(session.id))
      .Add("listener", session.listener->name)
      .Add("direction", direction)
      .Add("error_msg", "the kernel refused a session, userspace carries it")
      .Add("error_desc", strerror(error))
      .Send();
}

// The gauges of a session that has come from another worker, and of one that has ended.
void RelayThread::CountEngines(const Session& session) {
  if (session.rx.engine == EngineKind::kKernel) counters_.Add(Counter::kSessionsKernelRx);
  if (session.tx.engine == EngineKind::kKernel) counters_.Add(Counter::kSessionsKernelTx);
  if (IsKernel(session)) counters_.Add(Counter::kSessionsKernel);
}

void RelayThread::UncountEngines(const Session& session) {
  if (IsKernel(session)) counters_.Subtract(Counter::kSessionsKernel);
  if (session.rx.engine == EngineKind::kKernel) counters_.Subtract(Counter::kSessionsKernelRx);
  if (session.tx.engine == EngineKind::kKernel) counters_.Subtract(Counter::kSessionsKernelTx);
}

}  // namespace ironsocket
