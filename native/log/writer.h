// SPDX-License-Identifier: MIT
// The thread behind a Log: takes queued lines and writes them, many at a time. Owned by the Log and
// by its own thread, so that a write that never returns (a disk that hangs) can be left behind at
// exit.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "loop/thread.h"
#include "net/unique_fd.h"

namespace ironsocket {

class LogWriter {
 public:
  // Starts the thread, with all signals blocked; where the system has none to give, every line
  // counts as dropped. `head` goes between the timestamp and the level of the lines that the writer
  // makes itself.
  static std::shared_ptr<LogWriter> Start(UniqueFd fd, std::string head);
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // Queues one line of at most PIPE_BUF bytes that ends with its only newline, or counts it as
  // dropped. Any thread; allocates nothing and waits for no write.
  void Queue(std::string_view line);
  // Later lines go to `fd`. Any thread.
  void Reopen(UniqueFd fd);
  // Returns when the queue is written or after 200 ms, whichever comes first. Called once, by the
  // owner.
  void Stop();

  uint64_t written() const { return written_.load(std::memory_order_relaxed); }
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }
  const std::string& head() const { return head_; }

 private:
  LogWriter(UniqueFd fd, std::string head);

  // All below run on the writer's thread.
  void Run();
  bool Fetch();
  bool TakeWork(UniqueFd* new_fd);
  void UseFd(UniqueFd fd);
  bool WaitUntilWritable();
  std::string_view NextBytes();
  ssize_t Write(std::string_view bytes);
  void Advance(std::string_view written);
  void GiveUp(std::string_view bytes);
  int Remaining(int timeout_ms) const;
  void WaitForEvent(int timeout_ms);
  bool InsideLine() const { return offset_ > 0 && batch_[offset_ - 1] != '\n'; }

  const std::string head_;
  UniqueFd event_;  // eventfd: work after idling, a new fd, or stop
  UniqueFd done_;   // eventfd: the thread is about to end
  Thread thread_;
  std::atomic<uint64_t> written_{0};
  std::atomic<uint64_t> dropped_{0};

  std::mutex mutex_;
  std::string queue_;  // guarded by mutex_, as are the next four
  bool idle_ = false;  // the thread waits for work without a timeout: a new line has to wake it
  bool reopen_ = false;
  bool stop_ = false;
  UniqueFd next_fd_;

  // The thread's own.
  enum class Kind : uint8_t { kFile, kFifo, kSocket, kOther };
  UniqueFd fd_;
  Kind kind_ = Kind::kFile;
  bool nowait_ = true;        // RWF_NOWAIT has not been refused
  bool broken_line_ = false;  // the last byte written was no newline
  std::string batch_;         // lines taken from the queue
  size_t offset_ = 0;         // of the first byte in batch_ that is not written
  std::string note_;          // the unwritten rest of a log_dropped line
  bool note_due_ = false;
  uint64_t noted_ = 0;  // drops that the log has been told of
  uint64_t note_covers_ = 0;
  int backoff_ms_ = 0;
  int64_t written_ms_ = 0;    // when something was last written
  int64_t deadline_ms_ = -1;  // on CLOCK_MONOTONIC, once stopping
};

}  // namespace ironsocket
