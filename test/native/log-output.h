// SPDX-License-Identifier: MIT
// Reading back what a log wrote, and waiting for its thread.
#pragma once

#include <doctest/doctest.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "logfmt-parser.h"

// Asks every millisecond until `condition` holds; false after ten seconds.
template <typename Condition>
bool Eventually(Condition condition) {
  for (int i = 0; i < 10'000; i++) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return condition();
}

inline std::vector<std::string> SplitLines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    size_t end = text.find('\n');
    if (end == text.npos) {
      lines.push_back(std::string(text) + " (no newline)");
      break;
    }
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return lines;
}

inline std::string Contents(int fd) {
  std::string text;
  char bytes[65536];
  ssize_t length;
  while ((length = pread(fd, bytes, sizeof(bytes), static_cast<off_t>(text.size()))) > 0) {
    text.append(bytes, static_cast<size_t>(length));
  }
  return text;
}

inline std::vector<std::string> Lines(int fd) { return SplitLines(Contents(fd)); }

// What a pipe or socket gives until nothing comes for 50 ms.
inline std::string Drain(int fd) {
  std::string text;
  char bytes[65536];
  pollfd readable{fd, POLLIN, 0};
  while (poll(&readable, 1, 50) > 0) {
    ssize_t length = read(fd, bytes, sizeof(bytes));
    if (length <= 0) break;
    text.append(bytes, static_cast<size_t>(length));
  }
  return text;
}

// Log lines, and what log_dropped lines among them tell.
struct Tally {
  uint64_t lines = 0, told = 0, notes = 0;
};

inline Tally Count(const std::vector<std::string>& lines) {
  Tally tally;
  for (const std::string& line : lines) {
    auto fields = logfmt::Parse(line);
    REQUIRE(fields);
    if (logfmt::Value(*fields, "event") != "log_dropped") {
      tally.lines++;
      continue;
    }
    CHECK(logfmt::Value(*fields, "level") == "warn");
    CHECK(logfmt::Value(*fields, "service") == "ironsocket");
    tally.notes++;
    tally.told += std::stoull(logfmt::Value(*fields, "count"));
  }
  return tally;
}
