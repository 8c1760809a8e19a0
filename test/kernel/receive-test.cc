// SPDX-License-Identifier: MIT
// What the running kernel does on the way in that the kernel engine has to work around: one test
// case for each. Asserted per ability where kernels differ.
#include <sys/socket.h>

#include <cerrno>

#include "sockets.h"

using namespace ironsocket;

namespace {

constexpr auto kData = ContentType::kApplicationData;

struct Receiver {
  Pair pair = Connect();
  Aead aead;
  TrafficKeys keys;
  int fd = pair.kernel.get();

  explicit Receiver(uint16_t suite) : keys(KeysOf(suite)) {
    REQUIRE(InstallKeys(fd, Direction::kReceive, keys) == 0);
  }
  void Deliver(ContentType type, const Bytes& content) {
    ::Deliver(pair, SealOne(aead, keys, type, content));
  }
};

// Everything out of the pipe.
Bytes Drain(const Pipe& pipe) {
  Bytes bytes(1 << 20);
  const ssize_t count = read(pipe.out.get(), bytes.data(), bytes.size());
  bytes.resize(static_cast<size_t>(std::max<ssize_t>(count, 0)));
  return bytes;
}

// `records` full records through a pipe of so many slots, emptied after every call.
Bytes ThroughPipe(Receiver& receiver, int slots, const Bytes& content, int records) {
  const Pipe pipe = MakePipe(slots);
  Bytes all;
  for (int i = 0; i < records; ++i) {
    receiver.Deliver(kData, content);
    while (SpliceFrom(receiver.fd, pipe.in.get()) > 0) all = Concat(all, Drain(pipe));
  }
  return all;
}

int SocketError(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  REQUIRE(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
  return error;
}

}  // namespace

TEST_CASE("receive: splice into a pipe with room for a part of the record loses its last bytes") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Receiver receiver(suite);
    const Bytes content = Pattern(kMaxPlaintext);
    const Bytes all = ThroughPipe(receiver, 1, content, 4);
    // The prefix of a record shifts its content, so that as much of the end stands in another page.
    const size_t lost = Kernel().splice_whole ? 0 : receiver.keys.prefix();
    CHECK(all.size() == 4 * (content.size() - lost));
    CHECK(std::equal(content.begin(), content.end() - static_cast<ptrdiff_t>(lost), all.begin()));
  }
}

TEST_CASE("receive: splice into a pipe of 16 slots of which one is free loses bytes just so") {
  Receiver receiver(0x1301), filler(0x1301);
  const Pipe pipe = MakePipe(16);
  const Bytes content = Pattern(kMaxPlaintext);
  receiver.Deliver(kData, content);
  Bytes all;
  while (true) {
    // Each record takes a slot, however short it is.
    for (int i = 0; i < 15; ++i) {
      filler.Deliver(kData, {0});
      REQUIRE(SpliceFrom(filler.fd, pipe.in.get()) == 1);
    }
    const ssize_t count = SpliceFrom(receiver.fd, pipe.in.get());
    CHECK(count <= sysconf(_SC_PAGESIZE));
    const Bytes piece = Drain(pipe);
    if (count <= 0) break;
    all.insert(all.end(), piece.begin() + 15, piece.end());
  }
  const size_t lost = Kernel().splice_whole ? 0 : receiver.keys.prefix();
  CHECK(all == Bytes(content.begin(), content.end() - static_cast<ptrdiff_t>(lost)));
}

TEST_CASE("receive: splice into an empty pipe of 16 slots moves every record whole") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Receiver receiver(suite);
    for (size_t size : {1, 4096, 8192, 16000, 16384}) {
      CAPTURE(size);
      const Bytes all = ThroughPipe(receiver, 16, Pattern(size), 2);
      CHECK(all == Concat(Pattern(size), Pattern(size)));
    }
  }
}

TEST_CASE("receive: a call of splice moves one record, recvmsg all there are") {
  Receiver receiver(0x1302);
  const Pipe pipe = MakePipe(16);
  for (int i = 0; i < 4; ++i) receiver.Deliver(kData, Pattern(1000));
  CHECK(SpliceFrom(receiver.fd, pipe.in.get()) == 1000);
  CHECK(Receive(receiver.fd).result == 3000);
}

TEST_CASE("receive: splice says 0 for an empty record, as for the end") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Receiver receiver(suite);
    const Pipe pipe = MakePipe(16);
    receiver.Deliver(kData, {});
    CHECK(SpliceFrom(receiver.fd, pipe.in.get()) == 0);
    // recvmsg tells them apart.
    CHECK(Receive(receiver.fd, MSG_DONTWAIT).result == -EAGAIN);
    receiver.Deliver(kData, Pattern(10));
    CHECK(SpliceFrom(receiver.fd, pipe.in.get()) == 10);
    shutdown(receiver.pair.raw.get(), SHUT_WR);
    while ((Poll(receiver.fd, POLLRDHUP) & POLLRDHUP) == 0) poll(nullptr, 0, 1);
    CHECK(SpliceFrom(receiver.fd, pipe.in.get()) == 0);
    const Received end = Receive(receiver.fd, MSG_DONTWAIT);
    CHECK(end.result == 0);
    CHECK(end.type == -1);
  }
}

TEST_CASE("receive: splice refuses a control record with EINVAL and leaves it to recvmsg") {
  Receiver receiver(0x1301);
  const Pipe pipe = MakePipe(16);
  receiver.Deliver(ContentType::kAlert, {1, 90});
  receiver.Deliver(kData, Pattern(10));
  for (int i = 0; i < 3; ++i) CHECK(SpliceFrom(receiver.fd, pipe.in.get()) == -EINVAL);
  char byte = 0;
  CHECK(recv(receiver.fd, &byte, 1, MSG_DONTWAIT) == -1);
  CHECK(errno == EIO);
  const Received alert = Receive(receiver.fd);
  CHECK(alert.type == static_cast<int>(ContentType::kAlert));
  CHECK(alert.content == Bytes{1, 90});
  CHECK(SpliceFrom(receiver.fd, pipe.in.get()) == 10);
}

TEST_CASE("receive: poll tells of a part of a record, before 6.12") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Receiver receiver(suite);
    const Bytes wire = SealOne(receiver.aead, receiver.keys, kData, Pattern(3000));
    for (size_t at = 0; at < wire.size(); at += 1000) {
      const size_t end = std::min(wire.size(), at + 1000);
      CHECK(Receive(receiver.fd, MSG_DONTWAIT).result == -EAGAIN);
      const bool readable = at > 0 && Kernel().partial_poll;
      CHECK(Poll(receiver.fd) == (readable ? POLLIN : 0));
      Deliver(receiver.pair, Bytes(wire.begin() + static_cast<ptrdiff_t>(at),
                                   wire.begin() + static_cast<ptrdiff_t>(end)));
    }
    CHECK(Poll(receiver.fd) == POLLIN);
    CHECK(Receive(receiver.fd, MSG_DONTWAIT).content == Pattern(3000));
  }
}

TEST_CASE("receive: after a broken record every send fails until SO_ERROR is read") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Receiver receiver(suite);
    TrafficKeys opening = KeysOf(suite, 2);
    REQUIRE(InstallKeys(receiver.fd, Direction::kSend, opening) == 0);
    Bytes wire = SealOne(receiver.aead, receiver.keys, kData, Pattern(100));
    wire.back() ^= 1;
    const long errors = TlsStat("TlsDecryptError");
    Deliver(receiver.pair, wire);
    // The record stays, and costs a decryption each time.
    for (int i = 1; i <= 3; ++i) {
      CHECK(Receive(receiver.fd, MSG_DONTWAIT).result == -EBADMSG);
      CHECK(TlsStat("TlsDecryptError") == errors + i);
    }
    for (int i = 0; i < 3; ++i) {
      CHECK(SendControl(receiver.fd, ContentType::kAlert, {2, 20}) == -EBADMSG);
    }
    CHECK(SocketError(receiver.fd) == EBADMSG);
    CHECK(SendControl(receiver.fd, ContentType::kAlert, {2, 20}) == 2);
    Aead aead;
    CHECK(OpenOne(aead, opening, ReadWire(receiver.pair.raw.get())).content == Bytes{2, 20});
  }
}

TEST_CASE("receive: an error of framing is told once, then there is nothing to read for ever") {
  struct Fault {
    Bytes wire;
    int error;
  };
  const Fault faults[] = {{{23, 3, 3, 0x48, 1}, EMSGSIZE},
                          {{23, 3, 3, 0, 8}, EBADMSG},
                          {{23, 3, 9, 0, 100}, EINVAL},
                          {{'G', 'E', 'T', ' ', '/'}, EINVAL}};
  for (uint16_t suite : kEverySuite) {
    for (const auto& [wire, error] : faults) {
      CAPTURE(suite);
      CAPTURE(error);
      Receiver receiver(suite);
      Deliver(receiver.pair, Concat(wire, Pattern(200)));
      CHECK((Poll(receiver.fd) & POLLERR) != 0);
      CHECK(Receive(receiver.fd, MSG_DONTWAIT).result == -error);
      for (int i = 0; i < 3; ++i) CHECK(Receive(receiver.fd, MSG_DONTWAIT).result == -EAGAIN);
      CHECK(Poll(receiver.fd) == (Kernel().partial_poll ? POLLIN : 0));
    }
  }
}

TEST_CASE("receive: a record that ends too early looks like a clean end") {
  Receiver receiver(0x1301);
  const Bytes wire = SealOne(receiver.aead, receiver.keys, kData, Pattern(100));
  Deliver(receiver.pair, Bytes(wire.begin(), wire.begin() + 50));
  shutdown(receiver.pair.raw.get(), SHUT_WR);
  const Received end = Receive(receiver.fd);
  CHECK(end.result == 0);
  CHECK(end.type == -1);
}
