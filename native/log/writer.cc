// SPDX-License-Identifier: MIT
#include "log/writer.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>

#include "log/logfmt.h"
#include "loop/clock.h"

namespace ironsocket {
namespace {

// Queued lines and the batch being written have this bound each: 1 MiB together.
constexpr size_t kQueueBytes = 512 * 1024;
constexpr size_t kWriteBytes = 64 * 1024;
// A stream socket takes as much as fits one of its buffers as a whole or not at all (the kernel's
// UNIX_SKB_FRAGS_SZ); of more it may take a part, and the next process's line would be in the
// middle of ours.
constexpr size_t kSocketBytes = 32 * 1024;
constexpr int kFirstBackoffMs = 100;
constexpr int kLastBackoffMs = 5'000;
// The thread gives up a little before the one that waits for it does, so that it can usually be
// joined.
constexpr int kStopMs = 200;
constexpr int kDrainMs = 150;
// A line that comes by itself is written at once; those that follow one another sooner go together,
// because each wake of this thread takes a core from another one.
constexpr int kGatherMs = 5;

void Signal(const UniqueFd& event) {
  // Fails only when the counter is full, and then the reader is awake.
  [[maybe_unused]] int result = eventfd_write(event.get(), 1);
}

uint64_t CountLines(std::string_view bytes) {
  return static_cast<uint64_t>(std::count(bytes.begin(), bytes.end(), '\n'));
}

}  // namespace

std::shared_ptr<LogWriter> LogWriter::Start(UniqueFd fd, std::string head) {
  std::shared_ptr<LogWriter> writer(new LogWriter(std::move(fd), std::move(head)));
  // Signals are blocked on it, so a pipe without a reader gives EPIPE only, whatever SIGPIPE does
  // (write(2)), and a file at its limit EFBIG.
  std::string error;
  if (!writer->thread_.Start(
          "log", [writer] { writer->Run(); }, &error)) {
    writer->stop_ = true;
    Signal(writer->done_);
  }
  return writer;
}

LogWriter::LogWriter(UniqueFd fd, std::string head)
    : head_(std::move(head)),
      event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      done_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  queue_.reserve(kQueueBytes);
  batch_.reserve(kQueueBytes);
  UseFd(std::move(fd));
}

void LogWriter::Queue(std::string_view line) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    if (stop_ || queue_.size() + line.size() > kQueueBytes) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    queue_.append(line);
    wake = std::exchange(idle_, false);
  }
  if (wake) Signal(event_);
}

void LogWriter::Reopen(UniqueFd fd) {
  {
    std::lock_guard lock(mutex_);
    std::swap(next_fd_, fd);  // closed after the lock: close(2) may wait for a slow disk
    reopen_ = true;
  }
  Signal(event_);
}

void LogWriter::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  Signal(event_);
  pollfd done{done_.get(), POLLIN, 0};
  int64_t deadline = NowMs() + kStopMs;
  int result;
  do {
    result = poll(&done, 1, static_cast<int>(std::max<int64_t>(deadline - NowMs(), 0)));
  } while (result < 0 && errno == EINTR);
  if (result > 0) {
    thread_.Join();
  } else {
    thread_.Detach();  // inside a write that does not return; it keeps its own reference to us
  }
}

void LogWriter::Run() {
  pthread_setname_np(pthread_self(), "log");
  while (Fetch()) {
    if (!WaitUntilWritable()) continue;
    std::string_view bytes = NextBytes();
    ssize_t length = Write(bytes);
    if (length > 0) {
      Advance(bytes.substr(0, static_cast<size_t>(length)));
    } else if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
      // Said to be writable and is not (a datagram socket whose peer is full): never spin on it.
      WaitForEvent(Remaining(10));
    } else {
      GiveUp(bytes);
    }
  }
  Signal(done_);
}

// Waits until there is something to write. False: stop.
bool LogWriter::Fetch() {
  for (;;) {
    UniqueFd new_fd;
    bool work = TakeWork(&new_fd);
    if (new_fd.valid()) UseFd(std::move(new_fd));
    if (work) return deadline_ms_ < 0 || NowMs() < deadline_ms_;
    if (deadline_ms_ >= 0) return false;
    WaitForEvent(-1);
    const int64_t gather_ms = written_ms_ + kGatherMs - NowMs();
    if (gather_ms > 0) WaitForEvent(static_cast<int>(gather_ms));
  }
}

bool LogWriter::TakeWork(UniqueFd* new_fd) {
  std::lock_guard lock(mutex_);
  if (std::exchange(reopen_, false)) *new_fd = std::move(next_fd_);
  if (stop_ && deadline_ms_ < 0) deadline_ms_ = NowMs() + kDrainMs;
  if (offset_ == batch_.size()) {
    batch_.clear();
    offset_ = 0;
    std::swap(batch_, queue_);
    // Once per batch, which is when the queue has room again: not with every write.
    note_due_ |= dropped() > noted_;
  }
  bool work = !batch_.empty() || note_due_;
  idle_ = !work;
  return work;
}

void LogWriter::UseFd(UniqueFd fd) {
  struct stat status {};
  fstat(fd.get(), &status);
  switch (status.st_mode & S_IFMT) {
    case S_IFIFO:
      kind_ = Kind::kFifo;
      break;
    case S_IFSOCK:
      kind_ = Kind::kSocket;
      break;
    case S_IFCHR:
      kind_ = Kind::kOther;
      break;
    default:
      kind_ = Kind::kFile;  // never waited for; a bad descriptor fails at write
  }
  nowait_ = true;
  note_.clear();
  if (InsideLine()) {
    // Its first part is in the old file, where nothing can follow it.
    offset_ = batch_.find('\n', offset_) + 1;
    dropped_.fetch_add(1, std::memory_order_relaxed);
    note_due_ = true;
  }
  broken_line_ = false;
  backoff_ms_ = 0;
  fd_ = std::move(fd);
}

// False when something else is to be done first.
bool LogWriter::WaitUntilWritable() {
  if (kind_ == Kind::kFile) return true;
  pollfd fds[2] = {{event_.get(), POLLIN, 0}, {fd_.get(), POLLOUT, 0}};
  if (poll(fds, 2, Remaining(-1)) <= 0) return false;
  if (fds[0].revents != 0) {
    WaitForEvent(0);
    return false;
  }
  return true;
}

// The rest of a line comes first, then a due log_dropped line, then as many whole lines as one
// write may take.
std::string_view LogWriter::NextBytes() {
  if (note_due_ && note_.empty() && !InsideLine()) {
    char timestamp[kTimestampLength];
    FormatTimestamp(std::chrono::system_clock::now(), timestamp);
    note_covers_ = dropped();
    // What an earlier failure left of a line has to be ended before this line can begin. There is
    // always a log_dropped line to do that: the broken line is one of those that it counts.
    if (broken_line_) note_ = '\n';
    note_.append("timestamp=").append(timestamp, sizeof(timestamp));
    note_.append(head_).append(" level=warn event=log_dropped count=");
    note_.append(std::to_string(note_covers_ - noted_)).append("\n");
  }
  if (!note_.empty()) return note_;
  const size_t limit = kind_ == Kind::kFile     ? kWriteBytes
                       : kind_ == Kind::kSocket ? kSocketBytes
                                                : size_t{PIPE_BUF};
  std::string_view rest = std::string_view(batch_).substr(offset_);
  if (rest.size() <= limit) return rest;
  return rest.substr(0, rest.rfind('\n', limit - 1) + 1);
}

ssize_t LogWriter::Write(std::string_view bytes) {
  if (kind_ == Kind::kSocket) {
    return send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  if (kind_ == Kind::kFifo && nowait_) {
    // Another process may fill a shared pipe between poll and write. Kernels that know RWF_NOWAIT
    // for pipes (6.5) refuse such a write; on older ones it waits, and only this thread with it.
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    ssize_t length = pwritev2(fd_.get(), &part, 1, -1, RWF_NOWAIT);
    if (length >= 0 || errno != EOPNOTSUPP) return length;
    nowait_ = false;
  }
  return write(fd_.get(), bytes.data(), bytes.size());
}

void LogWriter::Advance(std::string_view written) {
  broken_line_ = written.back() != '\n';
  written_ms_ = NowMs();
  backoff_ms_ = 0;
  if (note_.empty()) {
    offset_ += written.size();
    written_.fetch_add(CountLines(written), std::memory_order_relaxed);
    return;
  }
  note_.erase(0, written.size());
  if (note_.empty()) {
    noted_ = note_covers_;
    note_due_ = false;
  }
}

// ENOSPC, EIO, EPIPE and the like. The lines of the failed write are lost: there may be half of one
// in the log, and what was refused for its size would be refused for ever. Then log_dropped probes,
// with backoff, whether the log works again; until it does, lines wait in the queue as long as they
// fit.
void LogWriter::GiveUp(std::string_view bytes) {
  if (note_.empty()) {
    offset_ += bytes.size();
    dropped_.fetch_add(CountLines(bytes), std::memory_order_relaxed);
  }
  note_.clear();
  note_due_ = true;
  if (deadline_ms_ >= 0) deadline_ms_ = 0;  // no time to try again
  backoff_ms_ = std::clamp(backoff_ms_ * 2, kFirstBackoffMs, kLastBackoffMs);
  WaitForEvent(Remaining(backoff_ms_));
}

// `timeout_ms` (-1: none), but not beyond the deadline of a stop.
int LogWriter::Remaining(int timeout_ms) const {
  if (deadline_ms_ < 0) return timeout_ms;
  int left = static_cast<int>(std::clamp<int64_t>(deadline_ms_ - NowMs(), 0, kDrainMs));
  return timeout_ms < 0 ? left : std::min(timeout_ms, left);
}

void LogWriter::WaitForEvent(int timeout_ms) {
  // Without an eventfd (no descriptor was left when the log started) look for work now and then.
  if (!event_.valid() && timeout_ms < 0) timeout_ms = kFirstBackoffMs;
  pollfd event{event_.get(), POLLIN, 0};
  if (poll(&event, 1, timeout_ms) > 0) {
    eventfd_t count;
    eventfd_read(event_.get(), &count);
  }
}

}  // namespace ironsocket
