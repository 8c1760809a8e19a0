// SPDX-License-Identifier: MIT
// A session as bytes, to be read by another process of this or a neighbouring version. Everything
// of it but its two descriptors, which travel beside (SCM_RIGHTS). docs/handoff.md has the format,
// byte by byte. Frames hold keys and payload: they are kept in memory that is wiped, never logged.
#pragma once

#include <openssl/crypto.h>

#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "loop/buffer_pool.h"
#include "relay/session.h"

namespace ironsocket {

// Wipes what it gives back, also when a vector grows. Bytes that a vector gets by resize() are left
// as they are.
template <typename T>
struct CleansingAllocator {
  using value_type = T;

  CleansingAllocator() = default;
  template <typename Other>
  explicit CleansingAllocator(const CleansingAllocator<Other>&) {}

  T* allocate(size_t count) { return std::allocator<T>().allocate(count); }
  void deallocate(T* data, size_t count) {
    OPENSSL_cleanse(data, count * sizeof(T));
    std::allocator<T>().deallocate(data, count);
  }
  template <typename Other>
  void construct(Other* place) {
    ::new (static_cast<void*>(place)) Other;
  }
  template <typename Other, typename... Values>
  void construct(Other* place, Values&&... values) {
    ::new (static_cast<void*>(place)) Other(std::forward<Values>(values)...);
  }
  bool operator==(const CleansingAllocator&) const { return true; }
};

using FrameBytes = std::vector<uint8_t, CleansingAllocator<uint8_t>>;

// Appends the frame of `session`, which must be between two turns and not dead. `now_ms`:
// CLOCK_MONOTONIC of the donor. The session is as before; wiping its keys is the caller's, once
// somebody else owns it.
void EncodeSession(const Session& session, int64_t now_ms, FrameBytes* out);

// A frame that was read and found good. The spans are in the input.
struct DecodedSession {
  // All but its descriptors, blocks, listener, group, timer, and time of acceptance.
  Session session{};
  bool has_backend = false;       // two descriptors belong to it: the client's, the backend's
  int64_t age_ms = 0;             // since it was accepted
  int64_t deadline_left_ms = -1;  // -1: no deadline
  ListenerValues listener;
  std::string group;
  uint64_t client_cookie = 0;  // SO_COOKIE of its sockets; 0: not told
  uint64_t backend_cookie = 0;
  std::span<const uint8_t> sni;
  std::span<const uint8_t> partial;     // Receiving::partial
  std::span<const uint8_t> to_backend;  // Session::to_backend
  std::span<const uint8_t> unsent;      // Sending::unsent
};

enum class FrameFault : uint8_t {
  kNone,
  kTruncated,             // the input ends before the frame does
  kUnknownVersion,        // neither ours nor a neighbour
  kUnknownRequiredField,  // from a newer version, and not to be left out
  kBadValue,              // no frame, damaged, or no session that could have been
  kTooLarge,              // longer than kMaxFrame
};
// "truncated", "unknown version" and so on; "" for kNone.
const char* FaultText(FrameFault fault);

// Reads the frame at the front of `*input`. Where its end is known, `*input` stands behind it
// afterwards, also on a fault; kTruncated, kTooLarge and a missing magic leave `*input` as it was.
// On a fault `*out` is of no use. Reads nothing but the input, never crashes on one.
FrameFault DecodeSession(std::span<const uint8_t>* input, DecodedSession* out);

// Makes a session out of it: blocks from `pool`, new key ids, a Listener without descriptor and
// contexts (sessions with equal values share one). `*to` must be fresh: without descriptors, in no
// list. What is left to do: its descriptors, epoll, and Timers for `deadline_left_ms`, which
// timer.deadline_ms has as CLOCK_MONOTONIC. It is to be given a turn, whatever its flags say.
// False: no memory; both are as before. Any thread, the pool's.
bool Restore(DecodedSession&& from, BufferPool& pool, Session* to);

}  // namespace ironsocket
