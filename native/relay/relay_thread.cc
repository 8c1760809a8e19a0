// SPDX-License-Identifier: MIT
#include "relay/relay_thread.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace ironsocket {
namespace {

constexpr uint64_t kInboxTag = 0;
constexpr int kStarvedMs = 50;

// Not more than half of the records that a key may open can have passed in between, even of one
// byte each.
uint32_t SampleBytes(const EngineState& state) {
  constexpr uint64_t kMost = 8 * 1024 * 1024;
  const uint64_t limit = state.key_update_records ? state.key_update_records : 2 * kMost;
  return static_cast<uint32_t>(std::clamp<uint64_t>(limit / 2, 1, kMost));
}

// Of two timeouts as epoll_wait(2) takes them: -1 is never.
int Sooner(int a, int b) { return a < 0 || b < 0 ? std::max(a, b) : std::min(a, b); }

}  // namespace

RelayThread::RelayThread(EngineState& state)
    : state_(state),
      counters_(state.counters.ForThread()),
      scratch_(new uint8_t[BufferPool::kLargest]),
      userspace_receiver_(aead_, pool_, scratch_.get()),
      userspace_sender_(aead_, pool_, scratch_.get()),
      kernel_receiver_(scratch_.get(), state.kernel.rekey, SampleBytes(state)),
      kernel_sender_(pool_, scratch_.get(), state.kernel.rekey, SampleBytes(state)) {}

RelayThread::~RelayThread() { Join(); }

bool RelayThread::Start(std::string* error) {
  if (!epoll_.valid() || !inbox_.valid() || epoll_.Add(inbox_.fd(), EPOLLIN, kInboxTag) != 0) {
    *error = "a relay thread gets no descriptors";
    return false;
  }
  // Now, to be among the descriptors that are counted; without it bytes are copied.
  if (state_.kernel.splice_whole) pipe_.Open();
  return thread_.Start(
      "relay", [this] { Loop(); }, error);
}

void RelayThread::Adopt(std::unique_ptr<Established> session) {
  load_.fetch_add(1, std::memory_order_relaxed);
  inbox_.Add({Command::kAdopt, std::move(session), {}, 0, {}});
}

void RelayThread::Wake(int64_t least_us) { inbox_.Wake(least_us); }

void RelayThread::EndSessions() { inbox_.Push({Command::kEndSessions, nullptr, {}, 0, {}}); }

void RelayThread::GiveSessions(UniqueFd fd, uint32_t most) {
  gives_.store(true, std::memory_order_relaxed);
  inbox_.Push({Command::kGive, nullptr, std::move(fd), most, {}});
}

void RelayThread::StopGiving() { inbox_.Push({Command::kStopGiving, nullptr, {}, 0, {}}); }

void RelayThread::TakeSessions(UniqueFd fd, uint32_t answers) {
  inbox_.Push({Command::kTake, nullptr, std::move(fd), answers, {}});
}

void RelayThread::TakeInventory(std::function<void(UniqueFd)> done) {
  inbox_.Push({Command::kInventory, nullptr, {}, 0, std::move(done)});
}

void RelayThread::Stop() { inbox_.Push({Command::kStop, nullptr, {}, 0, {}}); }

void RelayThread::Join() { thread_.Join(); }

void RelayThread::Loop() {
  std::array<epoll_event, 256> events;
  while (!stopping_) {
    now_ms_ = NowMs();
    int timeout = run_head_ || counting_ ? 0 : timers_.Timeout(now_ms_);
    if (starved_until_ms_ != 0) timeout = Sooner(timeout, kStarvedMs);
    timeout = Sooner(timeout, GivingTimeout());
    const auto ready = epoll_.Wait(events, timeout);
    now_ms_ = NowMs();
    for (const epoll_event& event : ready) Dispatch(event);
    TakeInbox();
    if (starved_until_ms_ != 0 && now_ms_ >= starved_until_ms_) WakeStarved();
    ExpireTimers();
    RunQueue();
    if (giving_) TickGiving();
    if (counting_) GoOnWithInventory();
    DestroyBuried();
    CountDrops();
    CountMemory();
  }
  EndGiving(Refusal::kNone);
  for (Taking& taking : takings_) EndTaking(taking, false);
  DropWaiting();
  EndInventory();
  while (all_) ResetBoth(all_, CloseReason::kStopped);
  run_head_ = run_tail_ = nullptr;
  for (Session* session : buried_) slab_.Destroy(session);
  buried_.clear();
}

// The log counts by itself; here it gets onto the page.
void RelayThread::CountDrops() {
  auto& dropped = state_.counters.Shared(Counter::kLogLinesDropped);
  const uint64_t now = state_.log.dropped();
  uint64_t told = dropped.load(std::memory_order_relaxed);
  // Another thread may have seen more since.
  while (told < now && !dropped.compare_exchange_weak(told, now, std::memory_order_relaxed)) {
  }
}

// What sessions hold. When all have ended it must be none.
void RelayThread::CountMemory() {
  counters_.Set(Counter::kSessionSlots, slab_.used());
  counters_.Set(Counter::kBufferBlocks, pool_.held());
}

void RelayThread::TakeInbox() {
  for (Message& message : inbox_.Take()) {
    switch (message.command) {
      case Command::kAdopt:
        if (!Create(*message.session)) {
          waiting_.push_back(std::move(message.session));
          StarveUntilLater();
        }
        break;
      case Command::kGive:
        BeginGiving(std::move(message.fd), message.limit);
        break;
      case Command::kStopGiving:
        EndGiving(Refusal::kNone);
        break;
      case Command::kTake:
        BeginTaking(std::move(message.fd), message.limit);
        break;
      case Command::kInventory:
        BeginInventory(std::move(message.done));
        break;
      case Command::kEndSessions:
        DropWaiting();
        for (Session* session = all_; session;) {
          Session* next = session->all_next;
          if (session->phase != Phase::kClosing && !session->moving) {
            EndWithAlert(session, CloseReason::kDrained, Alert::kInternalError);
          }
          session = next;
        }
        break;
      case Command::kStop:
        stopping_ = true;
        break;
    }
  }
}

void RelayThread::Dispatch(const epoll_event& event) {
  const uint64_t tag = event.data.u64;
  if (tag == kInboxTag) return inbox_.Heard();
  if (tag == kGivingTag) return giving_ ? OnAnswers() : void();
  if (tag < kFirstSessionTag) {
    return OnPrepares(static_cast<size_t>(tag - kTakingTag), event.events);
  }
  auto* session = reinterpret_cast<Session*>(event.data.u64 & ~kBackendBit);
  if (session->dead) return;
  const bool error = event.events & EPOLLERR;
  // EPOLLHUP alone: both directions have ended in order.
  const bool hangup = event.events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP);
  const bool readable = hangup || (event.events & EPOLLIN);
  const bool writable = event.events & (EPOLLERR | EPOLLHUP | EPOLLOUT);
  if (event.data.u64 & kBackendBit) {
    if (readable) session->backend_readable = true;
    if (writable) session->backend_writable = true;
    if (hangup) session->backend_hangup = true;
    if (error) session->backend_error = true;
  } else {
    if (readable) session->client_readable = true;
    if (writable) session->client_writable = true;
    if (hangup) session->client_hangup = true;
    if (error) session->client_error = true;
  }
  if (!session->moving) Enqueue(session);
}

void RelayThread::Enqueue(Session* session) {
  if (session->queued || session->dead) return;
  session->queued = true;
  session->run_next = nullptr;
  (run_tail_ ? run_tail_->run_next : run_head_) = session;
  run_tail_ = session;
}

// One turn each for the sessions that are queued now; those that queue themselves again wait for
// the next round.
void RelayThread::RunQueue() {
  Session* session = std::exchange(run_head_, nullptr);
  run_tail_ = nullptr;
  while (session) {
    Session* next = session->run_next;
    session->queued = false;
    if (!session->dead && !session->moving) RunTurn(session);
    session = next;
  }
}

void RelayThread::RunTurn(Session* session) {
  // A turn parks bytes in at most four blocks. Where they can't be had nothing is read: slower, but
  // nothing is lost.
  if (!pool_.Secure(4)) return Starve(session);
  switch (session->phase) {
    case Phase::kConnecting:
      return ConnectTurn(session);
    case Phase::kRelaying:
      return RelayTurn(session);
    case Phase::kClosing:
      return ClosingTurn(session);
  }
}

void RelayThread::Starve(Session* session) {
  if (!session->starved) {
    session->starved = true;
    session->starved_next = std::exchange(starved_, session);
  }
  StarveUntilLater();
}

void RelayThread::StarveUntilLater() {
  if (starved_until_ms_ == 0) starved_until_ms_ = now_ms_ + kStarvedMs;
}

void RelayThread::WakeStarved() {
  starved_until_ms_ = 0;
  for (Session* session = std::exchange(starved_, nullptr); session;) {
    Session* next = session->starved_next;
    session->starved = false;
    Enqueue(session);  // not if it has ended meanwhile
    session = next;
  }
  auto waiting = std::exchange(waiting_, {});
  for (auto& established : waiting) {
    if (Create(*established)) continue;
    waiting_.push_back(std::move(established));
    StarveUntilLater();
  }
}

// Those for whom there has been no memory all along: nothing of them has begun.
void RelayThread::DropWaiting() {
  for (auto& established : std::exchange(waiting_, {})) {
    established.reset();
    load_.fetch_sub(1, std::memory_order_relaxed);
    state_.ConnectionClosed();
  }
}

void RelayThread::ExpireTimers() {
  while (TimerNode* node = timers_.Expired(now_ms_)) OnTimer(reinterpret_cast<Session*>(node));
}

void RelayThread::OnTimer(Session* session) {
  switch (session->phase) {
    case Phase::kConnecting:
      session->connect_error = ETIMEDOUT;
      return ConnectFailed(session);
    case Phase::kRelaying:
      return RelayTimeout(session);
    case Phase::kClosing:
      return ClosingTimeout(session);
  }
}

// False when there is no memory for it at the moment; nothing has changed then.
bool RelayThread::Create(Established& established) {
  if (!pool_.Secure(4)) return false;
  Session* session = slab_.Create();
  if (!session) return false;
  const uint64_t tag = reinterpret_cast<uint64_t>(session);
  if (epoll_.Add(established.client.get(), kSessionEvents, tag) != 0) {
    slab_.Destroy(session);
    return false;
  }
  Link(session);
  counters_.Add(Counter::kSessionsTotal);
  if (established.late) counters_.Add(Counter::kSessionsLate);
  if (!TakeOver(session, established)) {
    ResetBoth(session, CloseReason::kInternalError);
  } else if (state_.ending) {
    // Its handshake ended while EndSessions was on its way.
    EndWithAlert(session, CloseReason::kDrained, Alert::kInternalError);
  } else {
    StartConnecting(session);
  }
  return true;
}

// Moves a finished handshake into its session. False when its bytes don't fit into blocks, which
// Secure has made certain.
bool RelayThread::TakeOver(Session* session, Established& established) {
  session->id = established.id;
  session->listener = std::move(established.listener);
  session->client = std::move(established.client);
  session->client_address = established.client_address;
  session->local_address = established.local_address;
  session->accepted_ms = established.accepted_ms;
  session->late = established.late;
  session->suite = established.tls.suite;
  session->group = established.tls.group;
  session->resumed = established.tls.resumed;
  session->rx.keys = std::move(established.tls.rx);
  session->tx.keys = std::move(established.tls.tx);
  session->tx.max_content = established.tls.max_content;
  session->rx_window = session->tx_window = kMaxPlaintext;
  const std::span<const uint8_t> sni(reinterpret_cast<const uint8_t*>(established.tls.sni.data()),
                                     established.tls.sni.size());
  if (!pool_.Append(&session->sni, sni) ||
      !pool_.Append(&session->rx.partial, established.leftover) ||
      !pool_.Append(&session->tx.unsent, established.unsent)) {
    return false;
  }
  ChooseEngines(session, established.ulp_error);
  uint8_t header[kMaxProxyHeader];
  const size_t header_length = WriteProxyHeader(
      session->listener->proxy_protocol,
      {session->client_address, session->local_address, VersionName(session->suite->version),
       session->suite->name, established.tls.sni, established.tls.alpn, EnginesName(*session)},
      header);
  return pool_.Append(&session->to_backend, {header, header_length});
}

void RelayThread::Link(Session* session) {
  session->all_next = all_;
  if (all_) all_->all_previous = session;
  all_ = session;
  if (giving_) giving_->next = session;
  counters_.Add(Counter::kSessionsOpen);
}

void RelayThread::Bury(Session* session) {
  LogEnd(session);
  Discharge(session);
}

// The session has ended, or is another worker's: everything it holds is given back now, its memory
// at the end of the round.
void RelayThread::Discharge(Session* session) {
  session->dead = true;
  if (counting_ && counting_->next == session) counting_->next = session->all_next;
  if (giving_ && giving_->next == session) giving_->next = session->all_next;
  session->timer.Cancel();
  CloseBackend(session);
  epoll_.Remove(session->client.get());
  session->client.Reset();
  ReceiverOf(*session).Forget(session->rx);
  SenderOf(*session).Forget(session->tx);
  UncountEngines(*session);
  if (session->stays) counters_.Subtract(Counter::kSessionsStaying);
  ReleaseBlocks(session);
  (session->all_previous ? session->all_previous->all_next : all_) = session->all_next;
  if (session->all_next) session->all_next->all_previous = session->all_previous;
  counters_.Subtract(Counter::kSessionsOpen);
  load_.fetch_sub(1, std::memory_order_relaxed);
  state_.ConnectionClosed();
  buried_.push_back(session);
}

void RelayThread::ReleaseBlocks(Session* session) {
  for (Block* block :
       {&session->rx.partial, &session->tx.unsent, &session->to_backend, &session->sni}) {
    pool_.Release(block);
  }
}

void RelayThread::DestroyBuried() {
  size_t kept = 0;
  for (Session* session : buried_) {
    if (session->queued || session->starved) {
      buried_[kept++] = session;
    } else {
      slab_.Destroy(session);
    }
  }
  buried_.resize(kept);
}

}  // namespace ironsocket
