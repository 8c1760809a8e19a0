// SPDX-License-Identifier: MIT
// Connection ids: the number of the worker that accepted the connection, and a count. Workers are
// numbered over the whole life of the service, upgrades and crashes included, so no id comes twice,
// and a session keeps its own when it goes to another worker.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ironsocket {

inline constexpr unsigned kConnectionCountBits = 40;
// Of the worker's number, which comes round after 2^24 workers.
inline constexpr uint32_t kMostWorkers = uint32_t{1} << (64 - kConnectionCountBits);

constexpr uint64_t FirstConnectionId(uint32_t worker) {
  return uint64_t{worker} << kConnectionCountBits | 1;
}

// `7-123`: the 123rd connection that worker 7 has accepted. For the log; allocates nothing.
class ConnectionName {
 public:
  explicit ConnectionName(uint64_t id) {
    constexpr uint64_t kCount = (uint64_t{1} << kConnectionCountBits) - 1;
    char* const end = text_ + sizeof text_;
    char* at = std::to_chars(text_, end, id >> kConnectionCountBits).ptr;
    *at++ = '-';
    length_ = static_cast<size_t>(std::to_chars(at, end, id & kCount).ptr - text_);
  }
  operator std::string_view() const { return {text_, length_}; }

 private:
  char text_[24];  // 8 + 1 + 13 digits at most
  size_t length_;
};

}  // namespace ironsocket
