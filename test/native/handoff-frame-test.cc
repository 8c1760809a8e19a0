// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "frame-edit.h"
#include "handoff/frame.h"
#include "handoff/wire.h"
#include "made-session.h"

using namespace ironsocket;

namespace {

Bytes Encoded(const Session& session) {
  FrameBytes frame;
  EncodeSession(session, kMadeNow, &frame);
  return Bytes(frame.begin(), frame.end());
}

// What comes of a frame in another process.
struct Arrived {
  BufferPool pool;
  Timers timers;
  Session session{};
  FrameFault fault;
  int64_t deadline_left_ms = 0;
  int64_t restored_ms = 0;

  explicit Arrived(std::span<const uint8_t> frame) {
    DecodedSession decoded;
    fault = DecodeSession(&frame, &decoded);
    if (fault != FrameFault::kNone) return;
    CHECK(frame.empty());
    deadline_left_ms = decoded.deadline_left_ms;
    const int64_t age_ms = decoded.age_ms;
    if (decoded.has_backend) decoded.session.backend = UniqueFd(open("/dev/null", O_CLOEXEC));
    REQUIRE(Restore(std::move(decoded), pool, &session));
    restored_ms = session.accepted_ms + age_ms;
    if (deadline_left_ms < 0) return;
    CHECK(session.timer.deadline_ms == restored_ms + deadline_left_ms);
    CHECK_FALSE(session.timer.armed());
    timers.Arm(&session.timer, static_cast<uint32_t>(deadline_left_ms), kMadeNow);
  }
  ~Arrived() {
    session.timer.Cancel();
    for (Block* block :
         {&session.sni, &session.rx.partial, &session.to_backend, &session.tx.unsent}) {
      pool.Release(block);
    }
  }
  std::vector<std::string> Text() const {
    return SessionText::Of(session, restored_ms, deadline_left_ms);
  }
};

void CheckSame(const std::vector<std::string>& got, const std::vector<std::string>& expected) {
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] != expected[i]) FAIL_CHECK(expected[i], " became ", got[i]);
  }
}

FrameFault Decode(std::span<const uint8_t> frame) {
  DecodedSession decoded;
  return DecodeSession(&frame, &decoded);
}

std::filesystem::path FixtureFolder() {
  return std::filesystem::path(__FILE__).parent_path() / "../fixtures/handoff";
}

// A session with something in every field.
Bytes FullFrame(Phase phase = Phase::kConnecting, bool kernel_tx = true) {
  MadeSession made({0x1302, phase, false, kernel_tx, 40, 50, 60}, 7);
  made.session.listener->name.resize(10);
  made.session.listener->backend.resize(20);
  made.session.group = "X25519MLKEM768";
  return Encoded(made.session);
}

constexpr Phase kPhases[] = {Phase::kConnecting, Phase::kRelaying, Phase::kClosing};
constexpr size_t kSizes[] = {0, 1, 5, 64, 1000, 20 * 1024, BufferPool::kLargest};

}  // namespace

TEST_CASE("handoff frame: sessions of every suite, engine and phase arrive as they left") {
  uint64_t seed = 0;
  for (const uint16_t suite : kNegotiated) {
    for (const Phase phase : kPhases) {
      for (int round = 0; round < 24; ++round) {
        const size_t size = kSizes[seed % 5];
        MadeSession made({suite, phase, (round & 1) != 0, (round & 2) != 0, size, size / 2, size},
                         ++seed);
        CAPTURE(seed);
        const Arrived arrived(Encoded(made.session));
        REQUIRE(arrived.fault == FrameFault::kNone);
        CheckSame(arrived.Text(), SessionText::Of(made.session, kMadeNow));
      }
    }
  }
}

TEST_CASE("handoff frame: blocks of every size up to the largest") {
  uint64_t seed = 1000;
  for (const size_t partial : kSizes) {
    for (const size_t to_backend : kSizes) {
      MadeSession made({0xC02F, Phase::kRelaying, false, false, partial, to_backend, partial},
                       ++seed);
      const Arrived arrived(Encoded(made.session));
      REQUIRE(arrived.fault == FrameFault::kNone);
      CheckSame(arrived.Text(), SessionText::Of(made.session, kMadeNow));
    }
  }
}

TEST_CASE("handoff frame: the name of a group ends where it is shown to end") {
  MadeSession made({}, 5);
  made.session.group = "x25519";
  Bytes frame = Encoded(made.session);
  const auto name =
      std::search(frame.begin(), frame.end(), made.session.group, made.session.group + 6);
  REQUIRE(name != frame.end());
  // More names than are kept.
  for (char a = 'a'; a <= 'z'; ++a) {
    for (char b = 'a'; b <= 'd'; ++b) {
      std::copy_n(std::array{a, b, '\0'}.begin(), 3, name);
      FrameEdit::Seal(&frame);
      const Arrived first(frame), second(Encoded(first.session));
      REQUIRE(first.fault == FrameFault::kNone);
      REQUIRE(std::string_view(first.session.group) == second.session.group);
    }
  }
}

TEST_CASE("handoff frame: many behind each other, read one by one") {
  FrameBytes frames;
  std::vector<std::unique_ptr<MadeSession>> all;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    all.push_back(std::make_unique<MadeSession>(
        Shape{kNegotiated[seed % 11], kPhases[seed % 3], false, seed % 2 == 0, seed, 0, seed * 7},
        seed));
    EncodeSession(all.back()->session, kMadeNow, &frames);
  }
  std::span<const uint8_t> left(frames);
  for (const auto& made : all) {
    DecodedSession decoded;
    REQUIRE(DecodeSession(&left, &decoded) == FrameFault::kNone);
    CHECK(decoded.session.id == made->session.id);
  }
  CHECK(left.empty());
}

TEST_CASE("handoff frame: sessions of equal listeners share one, others don't") {
  MadeSession made({}, 1), other({}, 2);
  const Arrived first(Encoded(made.session)), second(Encoded(made.session));
  const Arrived third(Encoded(other.session));
  CHECK(first.session.listener == second.session.listener);
  CHECK(first.session.listener != third.session.listener);
  CHECK(first.session.rx.keys.id != second.session.rx.keys.id);
  CHECK(first.session.rx.keys.id != first.session.tx.keys.id);
}

TEST_CASE("handoff frame: threads make sessions side by side") {
  MadeSession made({0x1303, Phase::kConnecting, false, false, 10, 0, 10}, 9);
  const Bytes frame = Encoded(made.session);
  std::vector<std::thread> threads;
  std::atomic<size_t> wrong{0};
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      BufferPool pool;
      for (int i = 0; i < 500; ++i) {
        std::span<const uint8_t> input(frame);
        DecodedSession decoded;
        Session session{};
        const bool good = DecodeSession(&input, &decoded) == FrameFault::kNone &&
                          Restore(std::move(decoded), pool, &session);
        if (!good || session.listener->name != made.session.listener->name) ++wrong;
        for (Block* block : {&session.sni, &session.rx.partial, &session.tx.unsent}) {
          pool.Release(block);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("handoff frame: a passed deadline is one that is due, none stays none") {
  MadeSession made({}, 3);
  Timers timers;
  timers.Arm(&made.session.timer, 100, kMadeNow - 5000);
  CHECK(Arrived(Encoded(made.session)).deadline_left_ms == 0);
  timers.Arm(&made.session.timer, UINT32_MAX, kMadeNow);
  CHECK(Arrived(Encoded(made.session)).deadline_left_ms == UINT32_MAX);
  made.session.timer.Cancel();
  CHECK(Arrived(Encoded(made.session)).deadline_left_ms == -1);
}

TEST_CASE("handoff frame: one that is cut anywhere is truncated, and the input stays") {
  for (const bool kernel : {false, true}) {
    const Bytes frame = FullFrame(Phase::kConnecting, kernel);
    for (size_t size = 0; size < frame.size(); ++size) {
      const Bytes cut(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(size));
      std::span<const uint8_t> input(cut);
      DecodedSession decoded;
      REQUIRE(DecodeSession(&input, &decoded) == FrameFault::kTruncated);
      REQUIRE(input.size() == size);
    }
  }
}

TEST_CASE("handoff frame: no flipped bit goes unseen") {
  Bytes frame = FullFrame();
  for (size_t bit = 0; bit < frame.size() * 8; ++bit) {
    frame[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    const FrameFault fault = Decode(frame);
    if (fault == FrameFault::kNone) FAIL("bit ", bit);
    frame[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  }
  CHECK(Decode(frame) == FrameFault::kNone);
}

TEST_CASE(
    "handoff frame: behind a right checksum damage is refused or makes a session all the same") {
  std::mt19937_64 random(4);
  size_t accepted = 0;
  for (const Phase phase : kPhases) {
    const Bytes good = FullFrame(phase);
    for (size_t bit = 0; bit < good.size() * 8 + 3000; ++bit) {
      Bytes frame = good;
      const size_t at = bit < good.size() * 8 ? bit : random() % (good.size() * 8);
      frame[at / 8] ^= static_cast<uint8_t>(1 << at % 8);
      if (bit >= good.size() * 8) frame[random() % frame.size()] = static_cast<uint8_t>(random());
      FrameEdit::Seal(&frame);
      const Arrived arrived{frame};
      if (arrived.fault != FrameFault::kNone) continue;
      ++accepted;
      REQUIRE(Decode(Encoded(arrived.session)) == FrameFault::kNone);
    }
  }
  CHECK(accepted > 1000);  // keys, numbers and texts may be anything
}

TEST_CASE("handoff frame: unknown fields are skipped, unless they are required") {
  const Bytes frame = FullFrame();
  CHECK(Decode(FrameEdit::WithField(frame, 999, 0, Bytes(100, 1))) == FrameFault::kNone);
  CHECK(Decode(FrameEdit::WithField(frame, 999, 0xfffe, {})) == FrameFault::kNone);
  CHECK(Decode(FrameEdit::WithField(frame, 999, 1, {})) == FrameFault::kUnknownRequiredField);
  CHECK(Decode(FrameEdit::WithField(frame, 0, 1, {})) == FrameFault::kUnknownRequiredField);
  CHECK(Decode(FrameEdit::WithField(frame, 3, 1, Bytes(8))) == FrameFault::kBadValue);  // twice
}

TEST_CASE("handoff frame: versions of neighbours are read, no others") {
  const Bytes frame = FullFrame();
  CHECK(Decode(FrameEdit::WithVersion(frame, 0)) == FrameFault::kUnknownVersion);
  CHECK(Decode(FrameEdit::WithVersion(frame, 1)) == FrameFault::kNone);
  CHECK(Decode(FrameEdit::WithVersion(frame, 2)) == FrameFault::kNone);
  CHECK(Decode(FrameEdit::WithVersion(frame, 3)) == FrameFault::kUnknownVersion);
  CHECK(Decode(FrameEdit::WithVersion(frame, 0xffff)) == FrameFault::kUnknownVersion);
}

TEST_CASE("handoff frame: no field may be missing, longer or shorter") {
  const Bytes frame = FullFrame();
  for (uint16_t type = 1; type <= 8; ++type) {
    CAPTURE(type);
    CHECK(Decode(FrameEdit::Without(frame, type)) == FrameFault::kBadValue);
    CHECK(Decode(FrameEdit::Resized(frame, type, -1)) ==
          (type == 2 ? FrameFault::kNone : FrameFault::kBadValue));  // a text at its end
    if (type != 2) CHECK(Decode(FrameEdit::Resized(frame, type, 1)) == FrameFault::kBadValue);
  }
  CHECK(Decode(FrameEdit::Without(frame, 11)) == FrameFault::kBadValue);  // still connecting
  for (const uint16_t optional : {9, 10, 12, 13, 14}) {
    CHECK(Decode(FrameEdit::Without(frame, optional)) == FrameFault::kNone);
  }
}

TEST_CASE("handoff frame: bounds of every length") {
  const Bytes frame = FullFrame(Phase::kConnecting, false);
  const std::pair<uint16_t, size_t> bounds[] = {{9, 63},
                                                {10, 255},
                                                {12, BufferPool::kLargest},
                                                {13, BufferPool::kLargest},
                                                {14, BufferPool::kLargest}};
  for (const auto& bound : bounds) {
    const auto [type, most] = bound;
    CAPTURE(bound.first);
    const Bytes without = FrameEdit::Without(frame, type);
    CHECK(Decode(FrameEdit::WithField(without, type, 1, Bytes(most))) == FrameFault::kNone);
    CHECK(Decode(FrameEdit::WithField(without, type, 1, Bytes(most + 1))) == FrameFault::kBadValue);
  }
  CHECK(Decode(FrameEdit::WithField(frame, 999, 0, Bytes(1 << 20))) == FrameFault::kTooLarge);
  Bytes many = frame;
  for (int i = 0; i < 64; ++i) many = FrameEdit::WithField(many, 999, 0, {});
  CHECK(Decode(many) == FrameFault::kTooLarge);
  Bytes short_one = frame;
  FrameEdit::SetLength(&short_one, 19);
  CHECK(Decode(short_one) == FrameFault::kBadValue);
}

TEST_CASE("handoff frame: no memory leaves pool and frame for another try") {
  MadeSession made({0x1301, Phase::kRelaying, false, false, 100, 100, 100}, 5);
  const Bytes frame = Encoded(made.session);
  std::span<const uint8_t> input(frame);
  DecodedSession decoded;
  REQUIRE(DecodeSession(&input, &decoded) == FrameFault::kNone);
  // More than a block can hold is as good as no memory.
  const Bytes too_much(BufferPool::kLargest + 1);
  const auto unsent = std::exchange(decoded.unsent, too_much);
  BufferPool pool;
  Session session{};
  REQUIRE_FALSE(Restore(std::move(decoded), pool, &session));
  CHECK(session.id == 0);
  CHECK(session.sni.data == nullptr);
  decoded.unsent = unsent;
  REQUIRE(Restore(std::move(decoded), pool, &session));
  CHECK(session.id == made.session.id);
  for (Block* block :
       {&session.sni, &session.rx.partial, &session.to_backend, &session.tx.unsent}) {
    pool.Release(block);
  }
}

// Fails for a new version of the format, once, and writes what is missing. What is there is never
// written again.
TEST_CASE("handoff frame: this version has a fixture of each kind of session") {
  const std::pair<const char*, Shape> kinds[] = {
      {"connecting", {0x1301, Phase::kConnecting, false, false, 300, 100, 0}},
      {"userspace", {0x1302, Phase::kRelaying, false, false, 500, 0, 900}},
      {"userspace-tls12", {0xC02F, Phase::kRelaying, false, false, 17, 0, 2000}},
      {"kernel", {0x1301, Phase::kRelaying, true, true, 0, 700, 300}},
      {"kernel-tls12-ccm", {0xC0AC, Phase::kRelaying, true, true, 0, 0, 0}},
      {"mixed-chacha", {0x1303, Phase::kRelaying, false, true, 3, 1, 1}},
      {"closing", {0xC030, Phase::kClosing, true, false, 0, 0, 60}},
  };
  uint64_t seed = 100;
  for (const auto& [name, shape] : kinds) {
    const std::string path = FixtureFolder() / ("v" + std::to_string(wire::kVersion) + "-" + name);
    MadeSession made(shape, ++seed);
    const bool recorded = std::filesystem::exists(path + ".frame");
    CHECK(recorded);
    if (recorded) continue;
    const Bytes frame = Encoded(made.session);
    std::ofstream(path + ".frame", std::ios::binary)
        .write(reinterpret_cast<const char*>(frame.data()),
               static_cast<std::streamsize>(frame.size()));
    std::ofstream text(path + ".txt");
    for (const std::string& line : SessionText::Of(made.session, kMadeNow)) text << line << '\n';
  }
}

TEST_CASE("handoff frame: recorded ones of every version are read as they were written") {
  size_t read = 0;
  for (const auto& entry : std::filesystem::directory_iterator(FixtureFolder())) {
    if (entry.path().extension() != ".frame") continue;
    CAPTURE(entry.path().filename().string());
    std::ifstream file(entry.path(), std::ios::binary);
    const Bytes frame((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const Arrived arrived{frame};
    REQUIRE(arrived.fault == FrameFault::kNone);
    const auto got = arrived.Text();
    std::ifstream text(std::filesystem::path(entry.path()).replace_extension(".txt"));
    size_t lines = 0;
    for (std::string line; std::getline(text, line); ++lines) {
      if (std::find(got.begin(), got.end(), line) == got.end()) FAIL_CHECK("lost: ", line);
    }
    CHECK(lines > 90);
    ++read;
  }
  CHECK(read >= 6);
}
