// SPDX-License-Identifier: MIT
// The kernel and the userspace engine under the same keys: what one seals the other opens, in every
// version, cipher and direction. Nonces, additional data, sequence numbers and padding have to be
// the same for that.
#include <poll.h>
#include <sys/socket.h>

#include "sockets.h"

using namespace ironsocket;

namespace {

constexpr auto kData = ContentType::kApplicationData;
constexpr size_t kSizes[] = {1, 2, 15, 16, 17, 1000, 4096, 16383, 16384};

// Sequence and nonce that carry over many bytes when they are counted on.
TrafficKeys LateKeys(uint16_t suite) {
  TrafficKeys keys = KeysOf(suite);
  keys.sequence = 0xffff'fffe;
  if (keys.explicit_nonces()) keys.explicit_nonce = 0xffff'ffff'ffff'fffe;
  return keys;
}

// The kernel's count agrees with ours.
void CheckSequence(int fd, Direction direction, const TrafficKeys& ours) {
  uint64_t sequence = 0;
  REQUIRE(ReadSequence(fd, direction, ours, &sequence) == 0);
  CHECK(sequence == ours.sequence);
}

// What the kernel has just sent is what the engine seals, to the byte, and the engine opens it.
void CheckWire(int raw, Aead& aead, TrafficKeys& sealing, TrafficKeys& opening, ContentType type,
               const Bytes& content) {
  const Bytes wire = ReadWire(raw);
  CHECK(wire == SealOne(aead, sealing, type, content));
  Aead other;
  const OpenResult opened = OpenOne(other, opening, wire);
  CHECK(opened.alert == Alert::kNone);
  CHECK(opened.type == type);
  CHECK(opened.content == content);
}

}  // namespace

TEST_CASE("interop: the kernel takes every version and cipher in both directions") {
  for (TlsVersion version : KernelAbilities::kVersions) {
    for (CipherType cipher : KernelAbilities::kCiphers) {
      CAPTURE(static_cast<int>(cipher));
      CHECK(Kernel().Error(version, cipher, Direction::kReceive) == 0);
      CHECK(Kernel().Error(version, cipher, Direction::kSend) == 0);
    }
  }
}

TEST_CASE("interop: what the kernel seals is byte for byte what the engine seals") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    const Pair pair = Connect();
    const int kernel = pair.kernel.get(), raw = pair.raw.get();
    Aead aead;
    TrafficKeys sealing = LateKeys(suite), opening = LateKeys(suite);
    REQUIRE(InstallKeys(kernel, Direction::kSend, sealing) == 0);
    CheckSequence(kernel, Direction::kSend, sealing);
    for (size_t size : kSizes) {
      CAPTURE(size);
      const Bytes content = Pattern(size);
      CHECK(Send(kernel, content) == static_cast<ssize_t>(size));
      CheckWire(raw, aead, sealing, opening, kData, content);
      CheckSequence(kernel, Direction::kSend, sealing);
    }
    CHECK(SendControl(kernel, ContentType::kHandshake, {24, 0, 0, 1, 0}) == 5);
    CheckWire(raw, aead, sealing, opening, ContentType::kHandshake, {24, 0, 0, 1, 0});
    CHECK(SendControl(kernel, ContentType::kAlert, {1, 0}) == 2);
    CheckWire(raw, aead, sealing, opening, ContentType::kAlert, {1, 0});
    CheckSequence(kernel, Direction::kSend, sealing);
  }
}

TEST_CASE("interop: a long send becomes full records, an empty one none") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    const Pair pair = Connect();
    Aead aead;
    TrafficKeys sealing = KeysOf(suite), opening = KeysOf(suite);
    REQUIRE(InstallKeys(pair.kernel.get(), Direction::kSend, sealing) == 0);
    CHECK(Send(pair.kernel.get(), {}) == 0);
    const Bytes content = Pattern(40'000);
    CHECK(Send(pair.kernel.get(), content) == 40'000);
    for (size_t at = 0; at < content.size(); at += kMaxPlaintext) {
      const size_t end = std::min(content.size(), at + kMaxPlaintext);
      CheckWire(pair.raw.get(), aead, sealing, opening, kData,
                Bytes(content.begin() + static_cast<ptrdiff_t>(at),
                      content.begin() + static_cast<ptrdiff_t>(end)));
    }
    CheckSequence(pair.kernel.get(), Direction::kSend, sealing);
    CHECK(sealing.sequence == 3);
  }
}

TEST_CASE("interop: the kernel opens what the engine seals") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    const Pair pair = Connect();
    Aead aead;
    TrafficKeys keys = LateKeys(suite);
    REQUIRE(InstallKeys(pair.kernel.get(), Direction::kReceive, keys) == 0);
    const auto check = [&](ContentType type, const Bytes& content) {
      Deliver(pair, SealOne(aead, keys, type, content));
      const Received received = Receive(pair.kernel.get());
      CHECK(received.type == static_cast<int>(type));
      CHECK(received.content == content);
      CheckSequence(pair.kernel.get(), Direction::kReceive, keys);
    };
    for (size_t size : kSizes) check(kData, Pattern(size));
    // Not a KeyUpdate, type 24: from that on newer kernels wait for the next key.
    check(ContentType::kHandshake, {0, 0, 0, 0});
    check(ContentType::kHandshake, Concat(Bytes{1}, Pattern(16383)));
    check(ContentType::kAlert, {1, 0});
    check(kData, Pattern(1000));
  }
}

TEST_CASE("interop: an empty record of data is told before a control record, else swallowed") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    const Pair pair = Connect();
    const int kernel = pair.kernel.get();
    Aead aead;
    TrafficKeys keys = KeysOf(suite);
    REQUIRE(InstallKeys(kernel, Direction::kReceive, keys) == 0);
    Deliver(pair, SealOne(aead, keys, kData, {}));
    CHECK(Poll(kernel) == POLLIN);
    CHECK(Receive(kernel, MSG_DONTWAIT).result == -EAGAIN);
    CheckSequence(kernel, Direction::kReceive, keys);

    Deliver(pair, SealOne(aead, keys, kData, {}));
    Deliver(pair, SealOne(aead, keys, ContentType::kAlert, {1, 0}));
    const Received empty = Receive(kernel), alert = Receive(kernel);
    CHECK(empty.result == 0);
    CHECK(empty.type == static_cast<int>(kData));
    CHECK(alert.type == static_cast<int>(ContentType::kAlert));
    CHECK(alert.content == Bytes{1, 0});
    CHECK(alert.end);

    shutdown(pair.raw.get(), SHUT_WR);
    const Received end = Receive(kernel);
    CHECK(end.result == 0);
    CHECK(end.type == -1);
  }
}

TEST_CASE("interop: the kernel strips padding of any length") {
  for (uint16_t suite : kSuites13) {
    CAPTURE(suite);
    const Pair pair = Connect();
    TrafficKeys keys = KeysOf(suite);
    REQUIRE(InstallKeys(pair.kernel.get(), Direction::kReceive, keys) == 0);
    for (size_t size : {1, 1000, 16384}) {
      for (size_t zeros : {0, 1, 255, 15384, 16383}) {
        if (size + zeros > kMaxPlaintext) continue;
        CAPTURE(size);
        CAPTURE(zeros);
        const Bytes inner = Concat(Concat(Pattern(size), Bytes{23}), Bytes(zeros));
        Deliver(pair, Forge(keys, 23, inner));
        keys.sequence++;
        CHECK(Receive(pair.kernel.get()).content == Pattern(size));
      }
    }
  }
}

TEST_CASE("interop: what was queued before the keys came is opened, also a part of a record") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    const Pair pair = Connect();
    Aead aead;
    const TrafficKeys installed = KeysOf(suite);
    TrafficKeys keys = KeysOf(suite);
    Bytes content, wire;
    for (size_t size : {1, 16384, 3000}) {
      content = Concat(content, Pattern(size));
      wire = Concat(wire, SealOne(aead, keys, kData, Pattern(size)));
    }
    const auto part = wire.begin() + static_cast<ptrdiff_t>(wire.size() - 1500);
    Deliver(pair, Bytes(wire.begin(), part));
    REQUIRE(InstallKeys(pair.kernel.get(), Direction::kReceive, installed) == 0);
    CHECK(ReceiveAll(pair.kernel.get(), 16385) == Bytes(content.begin(), content.begin() + 16385));
    CHECK(Receive(pair.kernel.get(), MSG_DONTWAIT).result == -EAGAIN);
    Deliver(pair, Bytes(part, wire.end()));
    CHECK(Receive(pair.kernel.get()).content == Pattern(3000));
    CheckSequence(pair.kernel.get(), Direction::kReceive, keys);
  }
}
