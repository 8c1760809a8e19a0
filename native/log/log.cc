// SPDX-License-Identifier: MIT
#include "log/log.h"

#include <unistd.h>

#include <charconv>
#include <chrono>
#include <climits>
#include <cstring>

#include "log/logfmt.h"
#include "log/writer.h"

namespace ironsocket {
namespace {

static_assert(LogLine::kMaxLine == PIPE_BUF);

constexpr std::string_view kTruncated = " truncated=true";
// Kept free for the end of a line: a closing quote is part of its value.
constexpr size_t kTail = kTruncated.size() + 1;

// The fields between timestamp and level, which are the same in every line of a process.
std::string Head(std::string_view process_type) {
  char type[64];
  bool cut = false;
  size_t length = FormatValue(process_type, type, &cut);
  std::string head(" service=ironsocket process_type=");
  head.append(type, length).append(" pid=").append(std::to_string(getpid()));
  return head;
}

}  // namespace

struct Log::Impl {
  std::shared_ptr<LogWriter> writer;
};

std::string_view LevelName(Level level) {
  switch (level) {
    case Level::kFatal:
      return "fatal";
    case Level::kError:
      return "error";
    case Level::kWarn:
      return "warn";
    case Level::kInfo:
      return "info";
    case Level::kDebug:
      return "debug";
  }
  return "unknown";
}

Log::Log(UniqueFd fd, Level level, std::string process_type)
    : level_(level), impl_(new Impl{LogWriter::Start(std::move(fd), Head(process_type))}) {}

Log::~Log() { impl_->writer->Stop(); }

void Log::Reopen(UniqueFd fd) { impl_->writer->Reopen(std::move(fd)); }

uint64_t Log::written() const { return impl_->writer->written(); }

uint64_t Log::dropped() const { return impl_->writer->dropped(); }

LogLine::LogLine(Log& log, Level level, std::string_view event)
    : log_(log), level_(level), enabled_(log.Enabled(level)) {
  if (!enabled_) return;
  constexpr std::string_view kTimestamp = "timestamp=";
  const std::string& head = log.impl_->writer->head();
  length_ = kTimestamp.copy(buffer_, kTimestamp.size());
  FormatTimestamp(std::chrono::system_clock::now(),
                  std::span<char, kTimestampLength>(buffer_ + length_, kTimestampLength));
  length_ += kTimestampLength;
  length_ += head.copy(buffer_ + length_, head.size());
  Add("level", LevelName(level_));
  Add("event", event);
}

LogLine& LogLine::Add(std::string_view key, std::string_view value) {
  if (!enabled_ || truncated_) return *this;
  std::span<char> room(buffer_ + length_, kMaxLine - kTail - length_);
  constexpr size_t kAround = 2;          // the space before the key and the equals sign
  constexpr size_t kSmallestValue = 24;  // a number is whole or left out
  if (room.size() < key.size() + kAround + kSmallestValue) {
    truncated_ = true;
    return *this;
  }
  room[0] = ' ';
  size_t length = 1 + FormatKey(key, room.subspan(1));
  room[length++] = '=';
  length += FormatValue(value, room.subspan(length), &truncated_);
  length_ += length;
  return *this;
}

LogLine& LogLine::Add(std::string_view key, int64_t value) {
  char digits[24];
  char* end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  return Add(key, std::string_view(digits, static_cast<size_t>(end - digits)));
}

LogLine& LogLine::Add(std::string_view key, uint64_t value) {
  char digits[24];
  char* end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  return Add(key, std::string_view(digits, static_cast<size_t>(end - digits)));
}

void LogLine::Send() {
  if (!enabled_) return;
  enabled_ = false;  // a line is sent once
  if (truncated_) length_ += kTruncated.copy(buffer_ + length_, kTruncated.size());
  buffer_[length_++] = '\n';
  log_.impl_->writer->Queue(std::string_view(buffer_, length_));
}

}  // namespace ironsocket
