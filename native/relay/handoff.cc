// SPDX-License-Identifier: MIT
// Sessions on their way to another worker and from one, thread to thread, in batches. PREPARE: the
// donor has stopped touching them. The recipient makes everything that could fail and then answers;
// if its answer could be sent they are its own. So each has one owner at any moment.
// docs/handoff.md has the whole of it.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "handoff/batch.h"
#include "loop/clock.h"
#include "relay/relay_thread.h"
#include "relay/transfer.h"

namespace ironsocket {
namespace {

constexpr size_t kBatchBytes = 1024 * 1024;
constexpr int64_t kRetryMs = 20;
constexpr int64_t kAnswerMs = 1500;  // below the worker's own patience

bool IsStreamSocket(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

}  // namespace

// --- donor

void RelayThread::BeginGiving(UniqueFd fd, uint32_t most) {
  EndGiving();
  // Where it fails its end tells the other side.
  const bool watched = epoll_.Add(fd.get(), EPOLLIN, kGivingTag) == 0;
  gives_.store(watched, std::memory_order_relaxed);
  if (!watched) return;
  giving_ = std::make_unique<Giving>();
  giving_->fd = std::move(fd);
  giving_->most = most;
  GiveBatch();
}

void RelayThread::GiveBatch() {
  Giving& giving = *giving_;
  if (giving.prepared || now_ms_ < giving.retry_ms) return;
  FrameBytes frames;
  std::vector<int> fds;
  for (Session* session = all_; session && giving.batch.size() < giving.most;
       session = session->all_next) {
    if (session->stays) continue;
    if (fds.size() + 2 > kMaxBatchFds || frames.size() > kBatchBytes) break;
    fds.push_back(session->client.get());
    if (session->backend.valid()) fds.push_back(session->backend.get());
    Unregister(session);
    EncodeSession(*session, now_ms_, &frames);
    session->timer.Cancel();
    session->moving = true;
    giving.batch.push_back(session);
  }
  if (giving.batch.empty()) return;
  const int error = SendPrepare(giving.fd.get(), ++giving.id,
                                static_cast<uint32_t>(giving.batch.size()), NowUs(), frames, fds);
  if (error == 0) {
    giving.prepared = true;
    giving.prepared_ms = now_ms_;
    return;
  }
  // Descriptors on their way are counted for the whole user (unix(7)): ETOOMANYREFS.
  if (!IsPassing(-error) && error != -ETOOMANYREFS) return EndGiving();
  ResumeBatch();
  giving.retry_ms = now_ms_ + kRetryMs;
}

// What was not acknowledged is ours as before.
void RelayThread::ResumeBatch() {
  for (Session* session : giving_->batch) {
    session->moving = false;
    Watch(session);
  }
  giving_->batch.clear();
  giving_->prepared = false;
}

// An answer for the batch that is on its way.
void RelayThread::OnAnswer(Answer answer) {
  if (answer == Answer::kAccepted) {
    for (Session* session : giving_->batch) {
      counters_.Add(Counter::kSessionsGiven);
      Discharge(session);
    }
    giving_->batch.clear();
    giving_->prepared = false;
    return;
  }
  // One of them can't be taken: each by itself from now on, to find out which.
  if (giving_->batch.size() == 1) giving_->batch[0]->stays = true;
  giving_->most = 1;
  ResumeBatch();
}

// False: no (more) answer that counts, `*error` says why.
bool RelayThread::TakeAnswer(int* error) {
  uint64_t id = 0;
  Answer answer = Answer::kRefused;
  *error = ReceiveAnswer(giving_->fd.get(), &id, &answer);
  if (*error == 0 && (!giving_->prepared || id != giving_->id)) *error = -EBADMSG;
  if (*error != 0) return false;
  OnAnswer(answer);
  return true;
}

void RelayThread::OnAnswers() {
  int error = 0;
  while (TakeAnswer(&error)) continue;
  if (error != -EAGAIN) return EndGiving();
  GiveBatch();
}

// The part of the loop that waits for no event.
void RelayThread::TickGiving() {
  if (!giving_->prepared) return GiveBatch();
  if (now_ms_ - giving_->prepared_ms >= kAnswerMs) EndGiving();
}

// An answer that is there counts, one that is sent later fails at its sender; what is left is ours
// as before.
void RelayThread::EndGiving() {
  if (!giving_) return;
  shutdown(giving_->fd.get(), SHUT_RD);
  int error = 0;
  while (TakeAnswer(&error)) continue;
  ResumeBatch();
  epoll_.Remove(giving_->fd.get());
  giving_.reset();
  gives_.store(false, std::memory_order_relaxed);
}

// --- recipient

void RelayThread::BeginTaking(UniqueFd fd, UniqueFd donor, uint32_t answers) {
  const uint64_t tag = kTakingTag + takings_.size();
  if (epoll_.Add(fd.get(), EPOLLIN, tag) != 0) return;
  takings_.push_back({std::move(fd), std::move(donor), answers});
}

// For tests: the batch lies there until the donor has ended its side.
bool RelayThread::Waits(size_t index, uint32_t events) {
  if (takings_[index].answers > 0 || (events & EPOLLHUP)) return false;
  epoll_.Modify(takings_[index].fd.get(), 0, kTakingTag + index);
  LogLine(state_.log, Level::kInfo, "upgrade").Add("paused", true).Send();
  return true;
}

void RelayThread::OnPrepares(size_t index, uint32_t events) {
  for (;;) {
    Taking& taking = takings_[index];
    if (Waits(index, events)) return;
    Prepare prepare;
    const int error = ReceivePrepare(taking.fd.get(), &prepare);
    if (error == -EAGAIN) return;
    if (error == -EBADMSG && prepare.id != 0 &&
        SendAnswer(taking.fd.get(), prepare.id, Answer::kRefused) == 0) {
      continue;
    }
    if (error != 0) {
      epoll_.Remove(taking.fd.get());
      taking.fd.Reset();
      taking.donor.Reset();
      return;
    }
    TakeBatch(taking, prepare);
    --taking.answers;
  }
}

void RelayThread::TakeBatch(const Taking& taking, Prepare& prepare) {
  std::vector<Session*> batch;
  batch.reserve(prepare.sessions);
  const bool good = RestoreBatch(prepare, &batch);
  const int error =
      SendAnswer(taking.fd.get(), prepare.id, good ? Answer::kAccepted : Answer::kRefused);
  // A donor that is dead can't resume what it had let go of.
  if (!good || (error != 0 && !IsDead(taking))) {
    for (Session* session : batch) Disown(session);
    return;
  }
  pauses_.Add(NowUs() - prepare.prepared_us, batch.size());
  for (Session* session : batch) TakeIn(session);
}

bool RelayThread::IsDead(const Taking& taking) const {
  pollfd donor{taking.donor.get(), POLLIN, 0};
  return donor.fd >= 0 && poll(&donor, 1, 100) == 1;
}

// All that can fail, for all of them. False: one did; those before it are in `batch`.
bool RelayThread::RestoreBatch(Prepare& prepare, std::vector<Session*>* batch) {
  std::span<const uint8_t> frames(prepare.frames);
  size_t fd = 0;
  for (uint32_t i = 0; i < prepare.sessions; ++i) {
    DecodedSession decoded;
    if (DecodeSession(&frames, &decoded) != FrameFault::kNone) return false;
    const size_t count = decoded.has_backend ? 2 : 1;
    if (fd + count > prepare.fds.size() || !pool_.Secure(4)) return false;
    Session* session = slab_.Create();
    if (!session) return false;
    batch->push_back(session);
    if (!Restore(std::move(decoded), pool_, session)) return false;
    session->client = std::move(prepare.fds[fd]);
    if (count == 2) session->backend = std::move(prepare.fds[fd + 1]);
    fd += count;
    const bool streams = IsStreamSocket(session->client.get()) &&
                         (count == 1 || IsStreamSocket(session->backend.get()));
    if (!streams || !Register(session)) return false;
  }
  return frames.empty() && fd == prepare.fds.size();
}

// Never ours: closing our descriptors changes nothing for the donor, who has its own.
void RelayThread::Disown(Session* session) {
  Unregister(session);
  session->client.Reset();
  session->backend.Reset();
  ReleaseBlocks(session);
  slab_.Destroy(session);
}

void RelayThread::TakeIn(Session* session) {
  Link(session);
  load_.fetch_add(1, std::memory_order_relaxed);
  state_.ConnectionOpened();
  counters_.Add(Counter::kSessionsTaken);
  if (session->rx.engine == EngineKind::kKernel) counters_.Add(Counter::kSessionsKernelRx);
  if (session->tx.engine == EngineKind::kKernel) counters_.Add(Counter::kSessionsKernelTx);
  Rearm(session);
  MarkReady(session);
}

// --- both

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

// Back into epoll, with its timer.
void RelayThread::Watch(Session* session) {
  if (!Register(session)) return ResetBoth(session, CloseReason::kInternalError);
  Rearm(session);
  MarkReady(session);
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
  const uint32_t step = std::max(duration / 8, 1u);
  const int64_t left = std::clamp<int64_t>(session->timer.deadline_ms - now_ms_, 1, duration);
  const auto steps = static_cast<uint32_t>((left + step - 1) / step);
  timers_.Arm(&session->timer, steps * step, now_ms_);
}

}  // namespace ironsocket
