// SPDX-License-Identifier: MIT
// Reading back what a log wrote, and waiting for its thread.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

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
