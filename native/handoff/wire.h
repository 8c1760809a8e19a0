// SPDX-License-Identifier: MIT
// Numbers of the handoff frame (docs/handoff.md) and little-endian reading and writing. What is
// here never changes its meaning: what is new gets a new number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "loop/buffer_pool.h"
#include "record/tls.h"

namespace ironsocket::wire {

inline constexpr uint8_t kMagic[4] = {'I', 'S', 'H', 'F'};
inline constexpr uint16_t kVersion = 1;       // HandoffVersion() is what is written
inline constexpr size_t kHeader = 20;         // magic, version, fields, length, checksum
inline constexpr size_t kSummed = 12;         // of the header: all before the checksum
inline constexpr uint16_t kRequired = 1;      // flag: who does not know this field must refuse
inline constexpr size_t kMaxFrame = 1 << 20;  // header included
inline constexpr size_t kMaxFields = 64;

enum class Field : uint16_t {
  kSession = 1,
  kListener,
  kPostHandshake,
  kAddresses,
  kReceivingKeys,
  kSendingKeys,
  kReceiving,
  kSending,
  kGroup,
  kSni,
  kBackendAddresses,
  kPartial,
  kToBackend,
  kUnsent,
  kCookies,
  kEnd,  // not on the wire: one more than the last
};
// The first of the numbers that no field will ever have. Each frame carries one of them, optional,
// so that skipping what is not known is never out of practice (RFC 8701).
inline constexpr uint16_t kGrease = 0xF000;
inline constexpr uint64_t kGreaseNumbers = 0x1000;

inline constexpr size_t kAddressLength = 28;  // sockaddr_in6, the longest
inline constexpr size_t kSendingLength = 32;  // and the controls
inline constexpr size_t kControlLength = 7;

inline constexpr size_t kMaxControls = 2;
inline constexpr size_t kMaxName = 255;
inline constexpr size_t kMaxText = 1023;
inline constexpr size_t kMaxGroup = 63;
inline constexpr size_t kMaxSni = 255;
inline constexpr size_t kMaxEndpoints = 64;
inline constexpr size_t kMaxEndpointText = 255;
inline constexpr int64_t kMaxLeftMs = int64_t{1} << 32;
inline constexpr int64_t kMaxAgeMs = int64_t{1} << 48;

inline constexpr size_t kFlagCount = 21;  // of a session

// Flags of Receiving.
enum : uint8_t { kSuspect = 1, kStuck = 2, kKeysOwed = 4, kQuiet = 8, kReceivingFlags = 15 };

// Writes behind each other; the caller has made the room.
class Writer {
 public:
  explicit Writer(uint8_t* at) : at_(at) {}
  uint8_t* at() const { return at_; }

  void U8(uint8_t value) { *at_++ = value; }
  void U16(uint16_t value) { Put(value, 2); }
  void U32(uint32_t value) { Put(value, 4); }
  void U64(uint64_t value) { Put(value, 8); }
  void Bytes(const void* data, size_t length) {
    if (length > 0) std::memcpy(at_, data, length);
    at_ += length;
  }

 private:
  void Put(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) *at_++ = static_cast<uint8_t>(value >> (8 * i));
  }

  uint8_t* at_;
};

// Reads behind each other. Past the end everything is 0 and ok() is false.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : left_(bytes) {}
  bool ok() const { return ok_; }
  size_t left() const { return left_.size(); }

  uint8_t U8() { return static_cast<uint8_t>(Get(1)); }
  uint16_t U16() { return static_cast<uint16_t>(Get(2)); }
  uint32_t U32() { return static_cast<uint32_t>(Get(4)); }
  uint64_t U64() { return Get(8); }
  std::span<const uint8_t> Bytes(size_t length) {
    ok_ = ok_ && length <= left_.size();
    if (!ok_) return {};
    const std::span<const uint8_t> bytes = left_.first(length);
    left_ = left_.subspan(length);
    return bytes;
  }
  void Copy(void* to, size_t length) {
    const std::span<const uint8_t> bytes = Bytes(length);
    if (!bytes.empty()) std::memcpy(to, bytes.data(), length);
  }

 private:
  uint64_t Get(size_t count) {
    uint64_t value = 0;
    const std::span<const uint8_t> bytes = Bytes(count);
    for (size_t i = 0; i < bytes.size(); ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    return value;
  }

  std::span<const uint8_t> left_;
  bool ok_ = true;
};

// Of a whole frame, its first kSummed bytes and all that follows the header. Each step is a
// bijection, so damage within eight bytes in a row never goes unseen.
inline uint64_t Checksum(std::span<const uint8_t> frame) {
  uint64_t sum = 0x9E3779B97F4A7C15;
  const auto mix = [&sum](std::span<const uint8_t> bytes) {
    Reader reader(bytes);
    while (reader.left() > 0) {
      uint64_t word = 0;
      if (reader.left() >= 8) {
        word = reader.U64();
      } else {
        while (reader.left() > 0) word = word << 8 | reader.U8();
      }
      sum = (sum ^ word) * 0xD6E8FEB86659FD93;
      sum ^= sum >> 32;
    }
  };
  mix(frame.first(kSummed));
  mix(frame.subspan(kHeader));
  return sum;
}

}  // namespace ironsocket::wire
