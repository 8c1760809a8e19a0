// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <time.h>

#include <memory>
#include <span>
#include <utility>

#include "handoff/frame.h"
#include "loop/buffer_pool.h"
#include "made-session.h"

using namespace ironsocket;

TEST_CASE("handoff frame: 100,000 a second and core are encoded, decoded and made sessions") {
  constexpr size_t kFrames = 20'000;
  MadeSession made({0x1302, Phase::kRelaying, false, false, 100, 0, 0}, 11);
  FrameBytes frames;
  const auto cpu_ns = [] {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
  };
  const auto start = cpu_ns();
  for (size_t i = 0; i < kFrames; ++i) EncodeSession(made.session, kMadeNow, &frames);
  const auto encoded = cpu_ns();
  BufferPool pool;
  std::span<const uint8_t> left(frames);
  for (size_t i = 0; i < kFrames; ++i) {
    DecodedSession decoded;
    REQUIRE(DecodeSession(&left, &decoded) == FrameFault::kNone);
  }
  const auto decoded_at = cpu_ns();
  left = frames;
  for (size_t i = 0; i < kFrames; ++i) {
    DecodedSession decoded;
    Session session{};
    REQUIRE(DecodeSession(&left, &decoded) == FrameFault::kNone);
    REQUIRE(Restore(std::move(decoded), pool, &session));
    pool.Release(&session.rx.partial);
    pool.Release(&session.sni);
  }
  const auto restored = cpu_ns();
  const auto rate = [](auto from, auto to) {
    return 1e9 * kFrames / static_cast<double>(to - from);
  };
  MESSAGE("frames of ", frames.size() / kFrames, " bytes a second and core: ", rate(start, encoded),
          " encoded, ", rate(encoded, decoded_at), " decoded, ", rate(decoded_at, restored),
          " decoded and made sessions");
  CHECK(1e9 * kFrames / static_cast<double>(encoded - start + restored - decoded_at) > 100'000);
}
