// SPDX-License-Identifier: MIT
// Sessions on their way to another worker and from one, thread to thread, in batches. PREPARE: the
// donor has stopped touching them. The recipient makes everything that could fail and then answers;
// if its answer could be sent they are its own. So each has one owner at any moment.
// docs/handoff.md has the whole of it.
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "handoff/batch.h"
#include "handoff/receipt.h"
#include "loop/clock.h"
#include "relay/relay_thread.h"
#include "relay/transfer.h"

namespace ironsocket {
namespace {

constexpr uint32_t kDeaf = EPOLLET;  // what epoll tells nevertheless, it tells once
constexpr size_t kBatchBytes = 1024 * 1024;
constexpr int kRetryMs = 20;
constexpr int64_t kAnswerMs = 1500;    // below the worker's own patience
constexpr int64_t kListenMs = 10'000;  // meanwhile no session stands still

}  // namespace

// --- donor

void RelayThread::BeginGiving(UniqueFd fd, uint32_t most) {
  EndGiving(Refusal::kNone);
  // Where it fails its end tells the other side.
  const bool watched = !giving_ && epoll_.Add(fd.get(), EPOLLIN, kGivingTag) == 0;
  gives_.store(watched, std::memory_order_relaxed);
  if (!watched) return;
  refusal_ = Refusal::kNone;
  for (Session* session = all_; session; session = session->all_next) {
    if (session->stays) counters_.Subtract(Counter::kSessionsStaying);
    session->stays = false;
  }
  giving_ = std::make_unique<Giving>();
  giving_->fd = std::move(fd);
  giving_->most = most;
  giving_->next = all_;
  counters_.Add(Counter::kHandoffsOpen);
  // The other end may still be on its way, and no session shall wait for that: the recipient says
  // that it listens by accepting batch 0, which is nothing.
  giving_->prepared = true;
  giving_->prepared_ms = now_ms_;
}

void RelayThread::GiveBatch() {
  Giving& giving = *giving_;
  if (giving.prepared || !giving.next || now_ms_ < giving.retry_ms) return;
  const int64_t let_go_us = NowUs();
  FrameBytes frames;
  std::vector<int> fds;
  for (; giving.next && giving.batch.size() < giving.most; giving.next = giving.next->all_next) {
    Session* session = giving.next;
    if (session->stays) continue;
    if (fds.size() + 2 > kMaxBatchFds || frames.size() > kBatchBytes) break;
    fds.push_back(session->client.get());
    if (session->backend.valid()) fds.push_back(session->backend.get());
    Listen(session, kDeaf);
    EncodeSession(*session, now_ms_, &frames);
    session->timer.Cancel();
    session->moving = true;
    giving.batch.push_back(session);
  }
  gives_.store(giving.next || !giving.batch.empty(), std::memory_order_relaxed);
  if (giving.batch.empty()) return;
  const int error = SendPrepare(giving.fd.get(), ++giving.id,
                                static_cast<uint32_t>(giving.batch.size()), let_go_us, frames, fds);
  if (error == 0) {
    giving.prepared = true;
    giving.prepared_ms = now_ms_;
    return;
  }
  // Descriptors on their way are counted for the whole user (unix(7)): ETOOMANYREFS.
  ResumeBatch();
  giving.next = all_;
  refusal_ = error == -EPIPE ? Refusal::kGone : Refusal::kUnsent;
  if (!IsPassing(-error) && error != -ETOOMANYREFS) return EndGiving(refusal_);
  giving.retry_ms = now_ms_ + kRetryMs;
}

// What was not acknowledged is ours as before.
void RelayThread::ResumeBatch() {
  for (Session* session : giving_->batch) {
    session->moving = false;
    if (Listen(session, kSessionEvents)) {
      GoOn(session);
    } else {
      ResetBoth(session, CloseReason::kInternalError);
    }
  }
  giving_->batch.clear();
  giving_->prepared = false;
}

// An answer for the batch that is on its way.
void RelayThread::OnAnswer(Refusal refusal) {
  if (refusal == Refusal::kNone) {
    for (Session* session : giving_->batch) {
      CountMoved(*session, Counter::kSessionsGiven);
      if (session->late) counters_.Add(Counter::kSessionsLateGiven);
      Discharge(session);
    }
    giving_->batch.clear();
    giving_->prepared = false;
    if (refusal_ == Refusal::kUnsent) refusal_ = Refusal::kNone;  // that has passed
    return;
  }
  refusal_ = refusal;
  // One of them can't be taken: each by itself from now on, to find out which.
  if (giving_->batch.size() == 1) {
    giving_->batch[0]->stays = true;
    counters_.Add(Counter::kSessionsStaying);
  } else {
    giving_->next = all_;
  }
  giving_->most = 1;
  ResumeBatch();
}

// False: no (more) answer that counts, `*error` says why.
bool RelayThread::TakeAnswer(int* error) {
  Answer answer;
  *error = ReceiveAnswer(giving_->fd.get(), &answer);
  if (*error == 0 && (!giving_->prepared || answer.id != giving_->id)) *error = -EBADMSG;
  if (*error != 0) return false;
  OnAnswer(answer.refusal);
  return true;
}

void RelayThread::OnAnswers() {
  int error = 0;
  while (TakeAnswer(&error)) continue;
  if (error == -EAGAIN) return GiveBatch();
  EndGiving(error == -EPIPE ? Refusal::kGone : Refusal::kVersion);
}

// Milliseconds until TickGiving has something to do that no event announces; -1: nothing.
int RelayThread::GivingTimeout() const {
  if (!giving_) return -1;
  if (giving_->ending) return kRetryMs;
  if (!giving_->prepared) return giving_->next ? kRetryMs : -1;
  return static_cast<int>(std::max<int64_t>(giving_->prepared_ms + PatienceMs() - now_ms_, 0));
}

// With the other side, which owes an answer.
int64_t RelayThread::PatienceMs() const { return giving_->batch.empty() ? kListenMs : kAnswerMs; }

// The part of the loop that waits for no event.
void RelayThread::TickGiving() {
  if (giving_->ending) return EndGiving(Refusal::kNone);
  if (!giving_->prepared) return GiveBatch();
  if (now_ms_ - giving_->prepared_ms >= PatienceMs()) EndGiving(Refusal::kSilence);
}

// An answer that is there counts, one that is sent later fails at its sender; what is left is ours
// as before, once the other side has our word for it. Where that can't be sent for want of memory
// the next tick tries again. `why`: for the sessions that stay, if any do.
void RelayThread::EndGiving(Refusal why) {
  if (!giving_) return;
  if (!giving_->ending) {
    epoll_.Remove(giving_->fd.get());
    shutdown(giving_->fd.get(), SHUT_RD);
    int error = 0;
    while (TakeAnswer(&error)) continue;
    if (all_ && why != Refusal::kNone) refusal_ = why;
  }
  if (giving_->prepared) {
    const int error = SendTakenBack(giving_->fd.get(), giving_->id);
    giving_->ending = error != 0 && error != -EPIPE;
    if (giving_->ending) return;
  }
  ResumeBatch();
  giving_.reset();
  gives_.store(false, std::memory_order_relaxed);
  counters_.Subtract(Counter::kHandoffsOpen);
}

// --- recipient

void RelayThread::BeginTaking(UniqueFd fd, uint32_t answers) {
  auto taking = std::find_if(takings_.begin(), takings_.end(),
                             [](const Taking& old) { return !old.fd.valid(); });
  if (taking == takings_.end()) taking = takings_.emplace(taking);
  const uint64_t tag = kTakingTag + static_cast<uint64_t>(taking - takings_.begin());
  if (epoll_.Add(fd.get(), EPOLLIN, tag) != 0) return;
  // A donor that is not told waits in vain, keeps its sessions and says so.
  SendAnswer(fd.get(), {});
  *taking = {std::move(fd), answers, {}};
  state_.takings.fetch_add(1);
  counters_.Add(Counter::kHandoffsOpen);
}

// For tests: the batch lies there until the donor has ended its side.
bool RelayThread::Waits(size_t index, uint32_t events) {
  if (takings_[index].answers > 0 || (events & EPOLLHUP)) return false;
  epoll_.Modify(takings_[index].fd.get(), 0, kTakingTag + index);
  LogLine(state_.log, Level::kInfo, "upgrade").Add("paused", true).Send();
  return true;
}

void RelayThread::OnPrepares(size_t index, uint32_t events) {
  Taking& taking = takings_[index];
  for (;;) {
    if (Waits(index, events)) return;
    Prepare prepare;
    Refusal refusal = Refusal::kNone;
    const int error = ReceivePrepare(taking.fd.get(), &prepare, &refusal);
    if (error == -EAGAIN) return;
    if (error == -EBADMSG && prepare.id != 0 &&
        SendAnswer(taking.fd.get(), {prepare.id, refusal}) == 0) {
      continue;
    }
    if (error != 0 || prepare.taken_back) return EndTaking(taking, error == -EPIPE);
    TakeBatch(taking, prepare);
    --taking.answers;
    return;  // those that were taken have their turn before the next batch
  }
}

void RelayThread::TakeBatch(Taking& taking, Prepare& prepare) {
  std::vector<Session*> batch;
  batch.reserve(kMaxBatchFds);
  Refusal refusal = RestoreBatch(prepare, &batch);
  // They are counted as open: from here on we don't end for want of connections, if it isn't told
  // already (EngineState::ReportIfDrained).
  if (refusal == Refusal::kNone && state_.drained) refusal = Refusal::kOther;
  if (refusal != Refusal::kNone) {
    // Before the donor hears of it: it needs back what we have taken up.
    for (Session* session : batch) Disown(session);
    SendAnswer(taking.fd.get(), {prepare.id, refusal});
    if (prepare.sessions == 1) state_.NoLongerExpectOne();  // it is not asked for again
    return;
  }
  state_.ExpectMore(now_ms_);
  if (SendAnswer(taking.fd.get(), {prepare.id, refusal}) == 0) {
    state_.counters.pauses().Add(NowUs() - prepare.prepared_us, batch.size());
    for (Session* session : batch) TakeIn(session);
  } else {
    // The donor says that it has taken them back, or it is dead.
    taking.held = std::move(batch);
  }
}

// The donor has said its last word, or died without one: then what was held is nobody else's.
void RelayThread::EndTaking(Taking& taking, bool died) {
  if (!taking.fd.valid()) return;
  for (Session* session : std::exchange(taking.held, {})) died ? TakeIn(session) : Disown(session);
  epoll_.Remove(taking.fd.get());
  taking.fd.Reset();
  counters_.Subtract(Counter::kHandoffsOpen);
  state_.TakingEnded();
}

// All that can fail, for all of them; those that were made are in `batch`, not to be touched yet.
Refusal RelayThread::RestoreBatch(Prepare& prepare, std::vector<Session*>* batch) {
  std::span<const uint8_t> frames(prepare.frames);
  std::span<UniqueFd> fds(prepare.fds);
  // The lowest free number is given first: the table is full up to here.
  const uint64_t spare_from = state_.spare_fds_from.load(std::memory_order_relaxed);
  for (const UniqueFd& fd : fds) {
    if (static_cast<uint64_t>(fd.get()) >= spare_from) return Refusal::kDescriptors;
  }
  for (uint32_t i = 0; i < prepare.sessions; ++i) {
    DecodedSession decoded;
    const FrameFault fault = DecodeSession(&frames, &decoded);
    if (fault == FrameFault::kUnknownVersion) return Refusal::kVersion;
    if (fault != FrameFault::kNone) return Refusal::kFrame;
    const size_t count = decoded.has_backend ? 2 : 1;
    if (count > fds.size()) return Refusal::kMessage;
    if (!AreSocketsOf(decoded, fds[0].get(), fds[count - 1].get())) return Refusal::kSockets;
    Session* session = pool_.Secure(4) ? slab_.Create() : nullptr;
    if (!session) return Refusal::kShortage;
    batch->push_back(session);
    state_.ConnectionOpened();
    state_.NoLongerExpectOne();  // after it, or a client would find room between the two
    if (!Restore(std::move(decoded), pool_, session)) return Refusal::kShortage;
    session->moving = true;
    session->client = std::move(fds[0]);
    if (count == 2) session->backend = std::move(fds[1]);
    fds = fds.subspan(count);
    if (!Register(session)) return Refusal::kShortage;
  }
  return frames.empty() && fds.empty() ? Refusal::kNone : Refusal::kMessage;
}

// Never ours: closing our descriptors changes nothing for the donor, who has its own.
void RelayThread::Disown(Session* session) {
  session->dead = true;
  Unregister(session);
  session->client.Reset();
  session->backend.Reset();
  ReleaseBlocks(session);
  buried_.push_back(session);
  state_.ExpectOneAgain();
  state_.ConnectionClosed();
}

void RelayThread::TakeIn(Session* session) {
  session->moving = false;
  Link(session);
  load_.fetch_add(1, std::memory_order_relaxed);
  CountMoved(*session, Counter::kSessionsTaken);
  CountEngines(*session);
  GoOn(session);
}

// --- both

// `all` and the one of the three behind it that names its engines.
void RelayThread::CountMoved(const Session& session, Counter all) {
  counters_.Add(all);
  const size_t kinds = static_cast<size_t>(all) + 1;
  const bool rx = session.rx.engine == EngineKind::kKernel;
  const bool tx = session.tx.engine == EngineKind::kKernel;
  if (rx || tx) counters_.Add(static_cast<Counter>(kinds + (rx && tx ? 0 : tx ? 1 : 2)));
}

// Both of its sockets.
bool RelayThread::Register(Session* session) {
  const uint64_t tag = reinterpret_cast<uint64_t>(session);
  return epoll_.Add(session->client.get(), kSessionEvents, tag) == 0 &&
         (!session->backend.valid() ||
          epoll_.Add(session->backend.get(), kSessionEvents, tag | kBackendBit) == 0);
}

void RelayThread::Unregister(Session* session) {
  if (session->client.valid()) epoll_.Remove(session->client.get());
  if (session->backend.valid()) epoll_.Remove(session->backend.get());
}

// Changes what epoll tells of both; unlike leaving it and coming back, this needs nothing that
// could be short then. False: it can't be changed.
bool RelayThread::Listen(Session* session, uint32_t events) {
  const uint64_t tag = reinterpret_cast<uint64_t>(session);
  return epoll_.Modify(session->client.get(), events, tag) == 0 &&
         (!session->backend.valid() ||
          epoll_.Modify(session->backend.get(), events, tag | kBackendBit) == 0);
}

// After a way to the other worker, or back from it.
void RelayThread::GoOn(Session* session) {
  Rearm(session);
  MarkReady(session);
  // EndSessions came while it was on its way.
  if (state_.ending && session->phase != Phase::kClosing) {
    EndWithAlert(session, CloseReason::kDrained, Alert::kInternalError);
  }
}

// epoll announces what is ready once more, but not what the kernel hides behind a KeyUpdate.
void RelayThread::MarkReady(Session* session) {
  session->client_readable = session->client_writable = true;
  if (session->phase == Phase::kRelaying) {
    session->backend_readable = session->backend_writable = true;
  }
  Enqueue(session);
}

// What was left of its deadline, rounded up to an eighth of the whole: each duration is a list.
void RelayThread::Rearm(Session* session) {
  const uint32_t duration = DurationOf(*session);
  if (session->timer.deadline_ms == 0 || duration == 0) return;
  const uint32_t step = duration / 8 + (duration % 8 != 0);
  const int64_t left = std::clamp<int64_t>(session->timer.deadline_ms - now_ms_, 1, duration);
  const auto steps = static_cast<uint32_t>((left + step - 1) / step);
  timers_.Arm(&session->timer, std::min<uint64_t>(uint64_t{steps} * step, duration), now_ms_);
}

}  // namespace ironsocket
