// SPDX-License-Identifier: MIT
// KeyUpdate. From Linux 6.14 on the kernel stops reading behind a KeyUpdate until it has the next
// key; before, it knows nothing of it, and the session is lost with the first record after it.
#include <sys/socket.h>

#include <cerrno>

#include "record/post_handshake.h"
#include "sockets.h"

using namespace ironsocket;

namespace {

constexpr auto kData = ContentType::kApplicationData;
constexpr auto kHandshake = ContentType::kHandshake;

Bytes KeyUpdateMessage() {
  Bytes message(kKeyUpdateLength);
  WriteKeyUpdate(false, std::span<uint8_t, kKeyUpdateLength>(message.data(), kKeyUpdateLength));
  return message;
}

}  // namespace

TEST_CASE("rekey: sending goes on under the next key, or is refused and goes on under the old") {
  for (uint16_t suite : kSuites13) {
    CAPTURE(suite);
    const Pair pair = Connect();
    const int kernel = pair.kernel.get();
    Aead aead;
    TrafficKeys keys = KeysOf(suite), opening = KeysOf(suite);
    keys.sequence = opening.sequence = 5;
    REQUIRE(InstallKeys(kernel, Direction::kSend, keys) == 0);
    for (int generation = 0; generation < 3; ++generation) {
      uint64_t sequence = 0;
      CHECK(Send(kernel, Pattern(3000)) == 3000);
      CHECK(OpenOne(aead, opening, ReadWire(pair.raw.get())).content == Pattern(3000));
      CHECK(SendControl(kernel, kHandshake, KeyUpdateMessage()) == 5);
      CHECK(OpenOne(aead, opening, ReadWire(pair.raw.get())).type == kHandshake);
      REQUIRE(NextGeneration(&keys));
      CHECK(InstallKeys(kernel, Direction::kSend, keys) == (Kernel().rekey ? 0 : -EBUSY));
      if (Kernel().rekey) REQUIRE(NextGeneration(&opening));
      REQUIRE(ReadSequence(kernel, Direction::kSend, keys, &sequence) == 0);
      CHECK(sequence == opening.sequence);
    }
  }
}

TEST_CASE("rekey: the kernel stops behind a KeyUpdate, or reads on with the wrong key") {
  for (uint16_t suite : kSuites13) {
    CAPTURE(suite);
    const Pair pair = Connect();
    const int kernel = pair.kernel.get();
    Aead aead;
    TrafficKeys sealing = KeysOf(suite), keys = KeysOf(suite);
    REQUIRE(InstallKeys(kernel, Direction::kReceive, keys) == 0);
    for (int generation = 0; generation < (Kernel().rekey ? 3 : 1); ++generation) {
      Deliver(pair, SealOne(aead, sealing, kData, Pattern(100)));
      Deliver(pair, SealOne(aead, sealing, kHandshake, KeyUpdateMessage()));
      REQUIRE(NextGeneration(&sealing));
      Deliver(pair, SealOne(aead, sealing, kData, Pattern(200)));
      CHECK(Receive(kernel).content == Pattern(100));
      const Received update = Receive(kernel);
      CHECK(update.type == static_cast<int>(kHandshake));
      CHECK(update.content == KeyUpdateMessage());
      REQUIRE(NextGeneration(&keys));
      for (int i = 0; i < 2; ++i) {
        CHECK(Receive(kernel, MSG_DONTWAIT).result == (Kernel().rekey ? -EKEYEXPIRED : -EBADMSG));
      }
      CHECK(InstallKeys(kernel, Direction::kReceive, keys) == (Kernel().rekey ? 0 : -EBUSY));
      if (!Kernel().rekey) continue;
      uint64_t sequence = 1;
      REQUIRE(ReadSequence(kernel, Direction::kReceive, keys, &sequence) == 0);
      CHECK(sequence == 0);
      CHECK(Receive(kernel).content == Pattern(200));
    }
  }
}

TEST_CASE("rekey: poll hides a KeyUpdate that stands behind data, where the kernel can rekey") {
  const Pair pair = Connect();
  const int kernel = pair.kernel.get();
  Aead aead;
  TrafficKeys sealing = KeysOf(0x1301);
  REQUIRE(InstallKeys(kernel, Direction::kReceive, KeysOf(0x1301)) == 0);
  Deliver(pair, SealOne(aead, sealing, kData, Pattern(100)));
  Deliver(pair, SealOne(aead, sealing, kHandshake, KeyUpdateMessage()));
  CHECK(Receive(kernel).content == Pattern(100));
  CHECK(Poll(kernel) == (Kernel().rekey ? 0 : POLLIN));
  CHECK(Receive(kernel, MSG_DONTWAIT).content == KeyUpdateMessage());
}

TEST_CASE("rekey: poll hides a KeyUpdate that splice has met, where the kernel can rekey") {
  const Pair pair = Connect();
  const int kernel = pair.kernel.get();
  const Pipe pipe = MakePipe(16);
  Aead aead;
  TrafficKeys sealing = KeysOf(0x1301);
  REQUIRE(InstallKeys(kernel, Direction::kReceive, KeysOf(0x1301)) == 0);
  Deliver(pair, SealOne(aead, sealing, kHandshake, KeyUpdateMessage()));
  CHECK(Poll(kernel) == POLLIN);
  CHECK(SpliceFrom(kernel, pipe.in.get()) == -EINVAL);
  CHECK(Poll(kernel) == (Kernel().rekey ? 0 : POLLIN));
  CHECK(Receive(kernel, MSG_DONTWAIT).content == KeyUpdateMessage());
}

TEST_CASE("rekey: a TLS 1.2 handshake message of type 24 stops the kernel for good, where it can") {
  for (uint16_t suite : kSuites12) {
    CAPTURE(suite);
    const Pair pair = Connect();
    const int kernel = pair.kernel.get();
    Aead aead;
    TrafficKeys sealing = KeysOf(suite);
    REQUIRE(InstallKeys(kernel, Direction::kReceive, KeysOf(suite)) == 0);
    Deliver(pair, SealOne(aead, sealing, kHandshake, KeyUpdateMessage()));
    Deliver(pair, SealOne(aead, sealing, kData, Pattern(100)));
    CHECK(Receive(kernel).content == KeyUpdateMessage());
    const Received next = Receive(kernel, MSG_DONTWAIT);
    CHECK(next.result == (Kernel().rekey ? -EKEYEXPIRED : 100));
    CHECK(InstallKeys(kernel, Direction::kReceive, KeysOf(suite)) == -EBUSY);
  }
}
