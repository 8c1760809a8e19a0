// SPDX-License-Identifier: MIT
// The log of one process: logfmt lines, written by a thread of its own. Any thread may log; none is
// ever blocked by a slow, full or stuck log. What does not fit into the queue is dropped and
// counted, and the count is logged as soon as there is room again.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "net/unique_fd.h"

namespace ironsocket {

enum class Level : uint8_t { kFatal, kError, kWarn, kInfo, kDebug };

// "fatal" ... "debug"; nullptr-free.
std::string_view LevelName(Level level);

class LogLine;

class Log {
 public:
  // Starts the log thread. Takes the descriptor (file opened O_APPEND, pipe, socket or terminal);
  // its file status flags are left as they are, because it may be shared. `process_type` is
  // "keeper", "master" or "worker".
  Log(UniqueFd fd, Level level, std::string process_type);
  // Gives the queued lines up to 200 ms, then leaves: a stuck log never holds up an exit.
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  bool Enabled(Level level) const { return level <= level_.load(std::memory_order_relaxed); }
  void SetLevel(Level level) { level_.store(level, std::memory_order_relaxed); }
  // Writes go to the new descriptor from the next line on (log rotation).
  void Reopen(UniqueFd fd);
  // Lines written and dropped since the start.
  uint64_t written() const;
  uint64_t dropped() const;

 private:
  friend class LogLine;
  struct Impl;
  std::atomic<Level> level_;
  std::unique_ptr<Impl> impl_;
};

// One line, built on the stack and queued by Send():
//   LogLine(log, Level::kInfo, "proxy").Add("subevent", "client_connect").Add("client_port",
//   1234).Send();
// It starts with timestamp (RFC 3339, UTC, microseconds), service=ironsocket, process_type, pid,
// level and event. Values that are not plain are quoted and escaped so that no value can end the
// line, start a new field or send control bytes to a terminal; bytes that are not UTF-8 become
// \xNN. A line that would be longer than kMaxLine is cut inside a value, keeps its closing quote
// and gets truncated=true: it stays parseable.
class LogLine {
 public:
  static constexpr size_t kMaxLine =
      4096;  // PIPE_BUF: a write of this size to a pipe is atomic (pipe(7))

  LogLine(Log& log, Level level, std::string_view event);
  LogLine& Add(std::string_view key, std::string_view value);
  LogLine& Add(std::string_view key, int64_t value);
  LogLine& Add(std::string_view key, uint64_t value);
  LogLine& Add(std::string_view key, int value) { return Add(key, static_cast<int64_t>(value)); }
  LogLine& Add(std::string_view key, uint32_t value) {
    return Add(key, static_cast<uint64_t>(value));
  }
  LogLine& Add(std::string_view key, uint16_t value) {
    return Add(key, static_cast<uint64_t>(value));
  }
  LogLine& Add(std::string_view key, bool value) {
    return Add(key, value ? std::string_view("true") : "false");
  }
  LogLine& Add(std::string_view key, const char* value) {
    return Add(key, std::string_view(value));
  }
  // Queues the line. Does nothing when the level is not enabled.
  void Send();

 private:
  Log& log_;
  Level level_;
  bool enabled_;
  bool truncated_ = false;
  size_t length_ = 0;
  char buffer_[kMaxLine];
};

}  // namespace ironsocket
