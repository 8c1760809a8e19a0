// SPDX-License-Identifier: MIT
// What a handoff leaves in memory: nothing of the keys.
// Without ThreadSanitizer: it searches the process's memory, and that has terabytes mapped.
#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>

#include "handoff/frame.h"
#include "made-session.h"

using namespace ironsocket;

namespace {

constexpr size_t kNeedle = 32;
constexpr uintptr_t kShadow = uintptr_t{1} << 30;  // what ASan has mapped for itself is larger
constexpr uint8_t kMask = 0xA5;                    // what is looked for must not itself be found
using Needle = std::array<uint8_t, kNeedle>;

// Fresh bytes for `place`; what comes back is masked.
Needle Plant(uint8_t* place) {
  std::random_device random;
  Needle masked;
  for (uint8_t& byte : masked) {
    byte = static_cast<uint8_t>(random());
    *place++ = byte ^ kMask;
  }
  return masked;
}

// How often it is in the memory that this process can write, read where it is: also in what was
// freed.
__attribute__((no_sanitize("address"))) size_t Count(const Needle& masked) {
  std::vector<std::pair<uintptr_t, uintptr_t>> regions;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::string access;
    std::istringstream(line) >> std::hex >> begin >> dash >> end >> access;
    // The system's libcrypto binds its symbols late, and the resolver saves vector registers there;
    // the product's is bound at start.
    const bool stack = line.ends_with("[stack]");
    const bool shadow = end - begin > kShadow;
    if (access.starts_with("rw") && !shadow && !stack) regions.emplace_back(begin, end);
  }
  uint32_t front;
  std::memcpy(&front, masked.data(), sizeof front);
  size_t count = 0;
  for (const auto& [begin, end] : regions) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(begin);
    for (size_t at = 0; at + kNeedle <= end - begin; ++at) {
      uint32_t word;
      __builtin_memcpy(&word, bytes + at, sizeof word);
      if ((word ^ kMask * 0x01010101u) != front) continue;
      size_t same = sizeof word;
      while (same < kNeedle && (bytes[at + same] ^ kMask) == masked[same]) ++same;
      if (same == kNeedle) ++count;
    }
  }
  return count;
}

}  // namespace

TEST_CASE("handoff frame: nothing of the keys is left behind") {
  auto made = std::make_unique<MadeSession>(
      Shape{0x1302, Phase::kRelaying, false, false, 100, 100, 100}, 21);
  const Needle key = Plant(made->session.rx.keys.key);
  const Needle secret = Plant(made->session.tx.keys.secret);
  auto frames = std::make_unique<FrameBytes>();
  for (int i = 0; i < 20; ++i) EncodeSession(made->session, kMadeNow, frames.get());  // grows
  made.reset();
  CHECK(Count(key) == 20);  // and none where it was before it grew
  {
    BufferPool pool;
    auto session = std::make_unique<Session>();
    std::span<const uint8_t> left(*frames);
    auto decoded = std::make_unique<DecodedSession>();
    while (!left.empty()) REQUIRE(DecodeSession(&left, decoded.get()) == FrameFault::kNone);
    REQUIRE(Restore(std::move(*decoded), pool, session.get()));
    frames.reset();
    CHECK(Count(key) == 1);  // moved, not copied
    for (Block* block :
         {&session->sni, &session->rx.partial, &session->to_backend, &session->tx.unsent}) {
      pool.Release(block);
    }
  }
  CHECK(Count(key) == 0);
  CHECK(Count(secret) == 0);
}
