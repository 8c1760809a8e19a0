// SPDX-License-Identifier: MIT
// Installing keys: what is refused, with which errno, and that a refusal leaves the connection as
// it was.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "sockets.h"

using namespace ironsocket;

namespace {

constexpr auto kData = ContentType::kApplicationData;

uint16_t OtherCipher(uint16_t suite) {
  return SuiteById(suite)->version == TlsVersion::kTls13 ? (suite == 0x1303 ? 0x1301 : 0x1303)
                                                         : (suite == 0xCCA9 ? 0xC02B : 0xCCA9);
}

}  // namespace

TEST_CASE("install: only an established connection can have TLS, and only once") {
  const Pair pair = Connect(false);
  uint64_t sequence = 0;
  const TrafficKeys keys = KeysOf(0x1301);
  CHECK(InstallKeys(pair.kernel.get(), Direction::kSend, keys) == -ENOPROTOOPT);
  CHECK(ReadSequence(pair.kernel.get(), Direction::kSend, keys, &sequence) == -EOPNOTSUPP);
  CHECK(AttachUlp(pair.kernel.get()) == 0);
  CHECK(AttachUlp(pair.kernel.get()) == -EEXIST);
  CHECK(ReadSequence(pair.kernel.get(), Direction::kSend, keys, &sequence) == -EBUSY);

  const Pair late = Connect(false);
  shutdown(late.raw.get(), SHUT_WR);
  CHECK(ReceiveAll(late.kernel.get(), 1).empty());
  CHECK(AttachUlp(late.kernel.get()) == -ENOTCONN);
}

TEST_CASE("install: with the ULP in time, keys are taken also after the peer's FIN") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    const Pair pair = Connect();
    Aead aead;
    TrafficKeys keys = KeysOf(suite), sending = KeysOf(suite, 2), opening = KeysOf(suite, 2);
    const TrafficKeys installed = KeysOf(suite);
    Deliver(pair, SealOne(aead, keys, kData, Pattern(100)));
    shutdown(pair.raw.get(), SHUT_WR);
    while ((Poll(pair.kernel.get(), POLLRDHUP) & POLLRDHUP) == 0) poll(nullptr, 0, 1);
    REQUIRE(InstallKeys(pair.kernel.get(), Direction::kReceive, installed) == 0);
    REQUIRE(InstallKeys(pair.kernel.get(), Direction::kSend, sending) == 0);
    CHECK(Receive(pair.kernel.get()).content == Pattern(100));
    CHECK(Receive(pair.kernel.get()).result == 0);
    CHECK(Send(pair.kernel.get(), Pattern(200)) == 200);
    CHECK(OpenOne(aead, opening, ReadWire(pair.raw.get())).content == Pattern(200));
  }
}

TEST_CASE("install: bytes pass unchanged through a socket that has the ULP and no keys") {
  const Pair pair = Connect();
  Deliver(pair, Pattern(5000));
  CHECK(ReceiveAll(pair.kernel.get(), 5000) == Pattern(5000));
  CHECK(Send(pair.kernel.get(), Pattern(5000)) == 5000);
  CHECK(ReceiveAll(pair.raw.get(), 5000) == Pattern(5000));
}

TEST_CASE("install: a refused direction goes on in userspace, the other in the kernel") {
  for (uint16_t suite : kEverySuite) {
    for (Direction taken : {Direction::kReceive, Direction::kSend}) {
      CAPTURE(suite);
      CAPTURE(static_cast<int>(taken));
      const Pair pair = Connect();
      const bool receives = taken == Direction::kReceive;
      const Direction refused = receives ? Direction::kSend : Direction::kReceive;
      Aead aead, peer;
      TrafficKeys in = KeysOf(suite, 1), in_peer = KeysOf(suite, 1);
      TrafficKeys out = KeysOf(suite, 2), out_peer = KeysOf(suite, 2);
      uint64_t sequence = 0;
      REQUIRE(InstallKeys(pair.kernel.get(), taken, receives ? in : out) == 0);
      // Both directions have to have the same cipher.
      CHECK(InstallKeys(pair.kernel.get(), refused, KeysOf(OtherCipher(suite))) == -EINVAL);
      CHECK(ReadSequence(pair.kernel.get(), refused, in, &sequence) == -EBUSY);

      for (size_t size : {1, 1000, 16384}) {
        const Bytes to_us = SealOne(peer, in_peer, kData, Pattern(size));
        Deliver(pair, to_us);
        const Bytes got = receives ? Receive(pair.kernel.get()).content
                                   : OpenOne(aead, in, ReadWire(pair.kernel.get())).content;
        CHECK(got == Pattern(size));
        const Bytes sent = receives ? SealOne(aead, out, kData, Pattern(size)) : Pattern(size);
        CHECK(Send(pair.kernel.get(), sent) == static_cast<ssize_t>(sent.size()));
        CHECK(OpenOne(peer, out_peer, ReadWire(pair.raw.get())).content == Pattern(size));
      }
    }
  }
}

TEST_CASE("install: keys of TLS 1.2 are never replaced") {
  for (uint16_t suite : kSuites12) {
    CAPTURE(suite);
    const Pair pair = Connect();
    TrafficKeys keys = KeysOf(suite);
    keys.sequence = 41;
    for (Direction direction : {Direction::kReceive, Direction::kSend}) {
      uint64_t sequence = 0;
      REQUIRE(InstallKeys(pair.kernel.get(), direction, keys) == 0);
      CHECK(InstallKeys(pair.kernel.get(), direction, KeysOf(suite, 2)) == -EBUSY);
      CHECK(ReadSequence(pair.kernel.get(), direction, keys, &sequence) == 0);
      CHECK(sequence == 41);
    }
  }
}
