// SPDX-License-Identifier: MIT
// What clients and backend say to each other: a header, then bytes of one pattern that both know,
// so that every byte of every stream is compared.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace load {

enum class Kind : uint8_t {
  kEcho = 'E',    // whatever follows comes back
  kSource = 'D',  // the backend sends `length` bytes of the pattern
  kSink = 'U',    // the backend takes `length` bytes, and then says how many were right: 8 bytes
};

// The first bytes of a connection, in the byte order of the machine.
struct Header {
  Kind kind;
  uint8_t unused[7];
  uint64_t length;
};
static_assert(sizeof(Header) == 16);

// The most that is moved at once.
constexpr size_t kChunk = 256 * 1024;

class Pattern {
 public:
  Pattern() : bytes_(kPeriod + kChunk) {
    uint32_t state = 1;
    for (size_t i = 0; i < kPeriod; ++i) {
      state = state * 1664525 + 1013904223;
      bytes_[i] = static_cast<uint8_t>(state >> 24);
    }
    for (size_t i = kPeriod; i < bytes_.size(); ++i) bytes_[i] = bytes_[i - kPeriod];
  }
  // From this place of a stream on; at most kChunk bytes.
  std::span<const uint8_t> At(uint64_t offset, uint64_t size) const {
    return std::span(bytes_).subspan(offset % kPeriod, size < kChunk ? size : kChunk);
  }
  bool Matches(uint64_t offset, std::span<const uint8_t> bytes) const {
    return memcmp(bytes_.data() + offset % kPeriod, bytes.data(), bytes.size()) == 0;
  }

 private:
  // A prime: no block of a usual size that is lost, doubled or moved looks right.
  static constexpr size_t kPeriod = 65521;
  std::vector<uint8_t> bytes_;
};

}  // namespace load
