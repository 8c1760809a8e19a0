// SPDX-License-Identifier: MIT
// KernelReceiver with what is wrong with the client's records or its connection: the kernel says it
// once, to whatever call comes first, and it must come out behind what the client had sent before.
#include <sys/socket.h>

#include <cerrno>

#include "net/tcp_state.h"
#include "record/kernel.h"
#include "sockets.h"

using namespace ironsocket;

namespace {

using Next = RecordReceiver::Next;
constexpr auto kData = ContentType::kApplicationData;
constexpr auto kAlert = ContentType::kAlert;

// Each with as many bytes behind it as the kernel wants to see before it judges a header.
struct Framing {
  Bytes wire;
  int error;
  Alert alert;
};
const Framing kFraming[] = {
    {Concat(Bytes{23, 3, 3, 0x60, 0}, Bytes(8)), EMSGSIZE, Alert::kRecordOverflow},
    {Concat(Bytes{23, 3, 3, 0, 8}, Bytes(8)), EBADMSG, Alert::kBadRecordMac},
    {Concat(Bytes{23, 3, 1, 0, 100}, Bytes(8)), EINVAL, Alert::kProtocolVersion}};

struct Server {
  Pair pair = Connect();
  int fd = pair.kernel.get();
  Aead aead;
  TrafficKeys sealing;  // the client's
  TrafficKeys opening;
  std::unique_ptr<uint8_t[]> scratch{new uint8_t[BufferPool::kLargest]};
  KernelReceiver receiver{scratch.get(), Kernel().rekey, 1 << 20};
  Receiving rx;
  Pipe pipe = MakePipe(16);

  explicit Server(uint16_t suite) : sealing(KeysOf(suite)), opening(KeysOf(suite, 2)) {
    rx.keys = KeysOf(suite);
    REQUIRE(receiver.Begin(rx, fd) == 0);
    REQUIRE(InstallKeys(fd, Direction::kSend, KeysOf(suite, 2)) == 0);
  }

  void Deliver(ContentType type, const Bytes& content) {
    ::Deliver(pair, SealOne(aead, sealing, type, content));
  }
  void DeliverBroken() {
    Bytes wire = SealOne(aead, sealing, kData, Pattern(100));
    wire.back() ^= 1;
    ::Deliver(pair, wire);
  }
  void Reset() {
    const linger at_once{1, 0};
    REQUIRE(setsockopt(pair.raw.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    pair.raw.Reset();
    while (!IsClosed(fd)) poll(nullptr, 0, 1);
  }
  // As the relay does it: an error of splice goes to the receiver. Bytes or -errno.
  ssize_t Splice() {
    const ssize_t moved = SpliceFrom(fd, pipe.in.get(), kMaxPlaintext);
    if (moved < 0) receiver.OnSpliceError(rx, fd, static_cast<int>(-moved));
    return moved;
  }
  // One turn; what Fill said. `content` is the last record's, `alert` the fault's or kNone.
  ssize_t Turn() {
    const ssize_t filled = receiver.Fill(rx, fd, 65536);
    OpenedRecord record;
    alert = Alert::kNone;
    content.clear();
    Next next;
    while ((next = receiver.NextRecord(rx, &record, &alert)) == Next::kRecord) {
      content.assign(record.content.begin(), record.content.end());
    }
    CHECK((next == Next::kFault) == (alert != Alert::kNone));
    receiver.Park(rx);
    return filled;
  }
  bool CanSend() {
    if (SendControl(fd, kAlert, {1, 90}, MSG_DONTWAIT) != 2) return false;
    return OpenOne(aead, opening, ReadWire(pair.raw.get())).content == Bytes{1, 90};
  }

  Bytes content;
  Alert alert = Alert::kNone;
};

}  // namespace

TEST_CASE("kernel fault: what a send was told comes out behind what can still be read") {
  for (uint16_t suite : kEverySuite) {
    for (const auto& [wire, error, alert] : kFraming) {
      CAPTURE(suite);
      CAPTURE(error);
      Server server(suite);
      Deliver(server.pair, wire);
      REQUIRE(SendControl(server.fd, kAlert, {1, 90}, MSG_DONTWAIT) == -error);
      CHECK(server.receiver.TakeFault(server.rx, server.fd, error));
      CHECK(server.rx.fault == alert);
      CHECK_FALSE(server.rx.stuck);
      CHECK(server.CanSend());
      server.Turn();
      CHECK(server.alert == alert);
      CHECK(server.rx.stuck);
      CHECK(server.CanSend());
    }
  }
}

TEST_CASE("kernel fault: data in front of a fault that a send was told is read first") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Server server(suite);
    server.Deliver(kData, Pattern(100));
    server.rx.fault = Alert::kRecordOverflow;
    CHECK(server.Turn() > 0);
    CHECK(server.content == Pattern(100));
    CHECK(server.alert == Alert::kNone);
    server.Turn();
    CHECK(server.alert == Alert::kRecordOverflow);
  }
}

TEST_CASE("kernel fault: TakeFault keeps the first fault, and takes no other error") {
  Server server(0x1301);
  for (int error : {EPIPE, ECONNRESET, ETIMEDOUT, EAGAIN, ENOMEM, EIO}) {
    CHECK_FALSE(server.receiver.TakeFault(server.rx, server.fd, error));
    CHECK(server.rx.fault == Alert::kNone);
  }
  CHECK(server.receiver.TakeFault(server.rx, server.fd, EMSGSIZE));
  CHECK(server.receiver.TakeFault(server.rx, server.fd, EBADMSG));
  CHECK(server.rx.fault == Alert::kRecordOverflow);
  Server gone(0x1301);
  gone.Reset();
  CHECK_FALSE(gone.receiver.TakeFault(gone.rx, gone.fd, EBADMSG));
  CHECK(gone.rx.fault == Alert::kNone);
}

TEST_CASE("kernel fault: a splice that meets a header which can't be takes it for the read") {
  for (uint16_t suite : kEverySuite) {
    for (const auto& [wire, error, alert] : kFraming) {
      CAPTURE(suite);
      CAPTURE(error);
      Server server(suite);
      Deliver(server.pair, wire);
      CHECK(server.Splice() == -error);
      // Only a bad version can still be something else.
      CHECK(server.rx.suspect == (error == EINVAL));
      CHECK(server.rx.fault == (error == EINVAL ? Alert::kNone : alert));
      server.Turn();
      CHECK(server.alert == alert);
      CHECK(server.rx.stuck);
      CHECK(server.CanSend());
    }
  }
}

TEST_CASE("kernel fault: a splice that meets a broken tag takes it for the read") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Server server(suite);
    server.DeliverBroken();
    CHECK(server.Splice() == -EBADMSG);
    CHECK(server.rx.fault == Alert::kBadRecordMac);
    CHECK(server.Turn() == -EBADMSG);
    CHECK(server.alert == Alert::kBadRecordMac);
    CHECK(server.CanSend());
  }
}

TEST_CASE("kernel fault: a splice that meets a control record suspects it, the read clears it") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Server server(suite);
    server.Deliver(kAlert, {1, 90});
    CHECK(server.Splice() == -EINVAL);
    CHECK(server.rx.suspect);
    CHECK(server.Turn() > 0);
    CHECK(server.content == Bytes{1, 90});
    CHECK_FALSE(server.rx.suspect);
    CHECK(server.Turn() == -EAGAIN);
    CHECK(server.alert == Alert::kNone);
    CHECK_FALSE(server.rx.stuck);
  }
}

TEST_CASE("kernel fault: a splice with nothing to move is no fault") {
  Server server(0x1301);
  CHECK(server.Splice() == -EAGAIN);
  CHECK(server.Turn() == -EAGAIN);
  CHECK(server.alert == Alert::kNone);
  CHECK(server.rx.error == 0);
  CHECK_FALSE(server.rx.stuck);
}

TEST_CASE("kernel fault: a reset that a splice was told is no end of the stream") {
  for (uint16_t suite : {0x1301, 0xC02B}) {
    CAPTURE(suite);
    Server server(suite);
    server.Reset();
    CHECK(server.Splice() == -ECONNRESET);
    CHECK(server.rx.error == ECONNRESET);
    for (int i = 0; i < 3; ++i) {
      CHECK(server.Turn() == -ECONNRESET);
      CHECK(server.alert == Alert::kNone);
    }
    CHECK(server.receiver.Discard(server.rx, server.fd, 1000) == -ECONNRESET);
  }
}

TEST_CASE("kernel fault: who clears a fault keeps a reset that had come instead") {
  Server server(0x1301);
  server.Reset();
  server.receiver.OnSpliceError(server.rx, server.fd, ENOMEM);
  CHECK(server.rx.error == ECONNRESET);
  CHECK(server.Turn() == -ECONNRESET);
}

TEST_CASE("kernel fault: a shortage leaves no error behind that would fail a send") {
  for (int error : {ENOMEM, ENOBUFS}) {
    Server server(0x1301);
    // What a failed decryption leaves, whatever it failed for (tls_err_abort in net/tls/tls_sw.c).
    server.DeliverBroken();
    REQUIRE(Receive(server.fd, MSG_DONTWAIT).result == -EBADMSG);
    REQUIRE(SendControl(server.fd, kAlert, {1, 90}, MSG_DONTWAIT) == -EBADMSG);
    server.receiver.OnSpliceError(server.rx, server.fd, error);
    CHECK(server.rx.fault == Alert::kNone);
    CHECK(server.rx.error == 0);
    CHECK_FALSE(server.rx.stuck);
    CHECK(server.CanSend());
  }
}

TEST_CASE("kernel fault: Discard of a broken record is told once, and sends go on") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Server server(suite);
    server.DeliverBroken();
    CHECK(server.receiver.Discard(server.rx, server.fd, 1000) == -EBADMSG);
    CHECK(server.rx.stuck);
    CHECK(server.CanSend());
    for (const auto& [wire, error, alert] : kFraming) {
      CAPTURE(error);
      Server framed(suite);
      Deliver(framed.pair, wire);
      CHECK(framed.receiver.Discard(framed.rx, framed.fd, 1000) == -EBADMSG);
      CHECK(framed.rx.stuck);
      CHECK(framed.CanSend());
    }
  }
}

TEST_CASE("kernel fault: Discard of a broken record is stuck on a closed connection too") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Server server(suite);
    server.DeliverBroken();
    REQUIRE(shutdown(server.pair.raw.get(), SHUT_WR) == 0);
    REQUIRE(shutdown(server.fd, SHUT_WR) == 0);
    while (!IsClosed(server.fd)) poll(nullptr, 0, 1);
    CHECK(server.receiver.Discard(server.rx, server.fd, 1000) == -EBADMSG);
    CHECK(server.rx.stuck);
  }
}

TEST_CASE("kernel fault: keys that are owed go in before anything is read") {
  if (!Kernel().rekey) return;
  for (uint16_t suite : kSuites13) {
    CAPTURE(suite);
    Server server(suite);
    server.Deliver(ContentType::kHandshake, {24, 0, 0, 1, 0});
    REQUIRE(NextGeneration(&server.sealing));
    server.Deliver(kData, Pattern(700));
    CHECK(server.Turn() > 0);
    // As a shortage in NextKeys leaves it.
    REQUIRE(NextGeneration(&server.rx.keys));
    server.rx.keys_owed = true;
    CHECK(server.Turn() > 0);
    CHECK(server.content == Pattern(700));
    CHECK_FALSE(server.rx.keys_owed);
  }
}

TEST_CASE("kernel fault: while keys are owed and can't be had nothing is read") {
  Server server(0xC02B);  // which no kernel gives new keys
  server.Deliver(kData, Pattern(100));
  server.rx.keys_owed = true;
  for (int i = 0; i < 2; ++i) {
    CHECK(server.Turn() == -EBUSY);
    CHECK(server.rx.keys_owed);
    CHECK(server.content.empty());
  }
}
