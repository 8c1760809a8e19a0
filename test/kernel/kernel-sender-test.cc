// SPDX-License-Identifier: MIT
// KernelSender at the edges: a socket that takes nothing more wherever that can happen, what stands
// behind what, and when TCP has all of it.
#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>

#include "net/tcp_state.h"
#include "random-client.h"
#include "record/kernel.h"
#include "sockets.h"

using namespace ironsocket;

namespace {

constexpr auto kData = ContentType::kApplicationData;
constexpr auto kAlert = ContentType::kAlert;
constexpr auto kHandshake = ContentType::kHandshake;
const Bytes kUpdate = {24, 0, 0, 1, 0}, kUpdateAndAsk = {24, 0, 0, 1, 1};
const Bytes kCloseNotify = {1, 0}, kNoRenegotiation = {1, 100};
// With some of them a record is cut by the end of the send buffer, on each kernel with others.
constexpr int kBuffers[] = {20'000, 40'000, 55'000, 60'000, 70'000, 80'000, 90'000};

struct Writer {
  Pair pair = Connect();
  int fd = pair.kernel.get();
  Aead aead;
  BufferPool pool;
  std::unique_ptr<uint8_t[]> scratch{new uint8_t[BufferPool::kLargest]};
  KernelSender sender;
  Sending tx;
  TrafficKeys opening;  // the client's
  Bytes content;        // of data that was given to the sender
  Bytes wire;           // that the client has read and not opened yet

  explicit Writer(uint16_t suite = 0x1301, uint64_t sequence = 0, bool rekey = Kernel().rekey,
                  int buffer = 55'000)
      : sender(pool, scratch.get(), rekey, 100'000), opening(KeysOf(suite)) {
    tx.keys = KeysOf(suite);
    tx.keys.sequence = opening.sequence = sequence;
    REQUIRE(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer) == 0);
    REQUIRE(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
    REQUIRE(sender.Begin(tx, fd) == 0);
  }
  ~Writer() { sender.Forget(tx); }

  void Seal(size_t size) {
    std::array<iovec, RecordSender::kMaxPieces> pieces;
    REQUIRE(sender.Room(tx, size, pieces) == 1);
    REQUIRE(pieces[0].iov_len == size);
    const Bytes part = Pattern(size, static_cast<uint32_t>(content.size() + 1));
    std::memcpy(pieces[0].iov_base, part.data(), size);
    content = Concat(content, part);
    REQUIRE(sender.Seal(tx, size));
  }
  int Flush() {
    REQUIRE(pool.Secure(2));
    return sender.Flush(tx, fd);
  }
  int Send(size_t size) {
    Seal(size);
    return Flush();
  }
  // Until the socket takes nothing more, and something of the last content is left.
  void Fill() {
    int error = 0;
    while (error == 0) error = Send(100'000);
    REQUIRE(error == -EAGAIN);
    REQUIRE(tx.pending());
  }
  // The same, but all content is with the socket: the next record of whatever kind is too much.
  void FillExactly() {
    while (true) {
      const Bytes part = Pattern(kMaxPlaintext, static_cast<uint32_t>(content.size() + 1));
      const ssize_t sent = ::Send(fd, part);
      if (sent == -EAGAIN) return;
      REQUIRE(sent == static_cast<ssize_t>(part.size()));
      content = Concat(content, part);
      sender.Count(tx, fd, part.size());
    }
  }
  bool Drained() { return sender.Drained(tx, fd); }
  // What the sender has counted, as it stands on the wire, is what TCP was given: Drained() would
  // not tell of a few bytes too little.
  void CheckCount() {
    uint64_t sequence = 0, queued = 0;
    REQUIRE(ReadSequence(fd, Direction::kSend, tx.keys, &sequence) == 0);
    REQUIRE(ReadBytesQueued(fd, &queued));
    const uint64_t records = tx.records_before + sequence;
    CHECK(tx.content + records * (tx.keys.prefix() + tx.keys.suffix()) == queued - tx.wire_base);
  }

  // The client reads at most so much. Whether it got anything.
  bool Read(size_t most = 30'000) {
    Bytes part(most);
    const ssize_t got = recv(pair.raw.get(), part.data(), part.size(), MSG_DONTWAIT);
    if (got <= 0) poll(nullptr, 0, 1);
    part.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
    wire = Concat(wire, part);
    return got > 0;
  }
  // The client reads until everything is with TCP.
  void FlushAll() {
    for (int i = 0; i < kPatience * 1000; ++i) {
      const int error = Flush();
      CHECK((error == -EAGAIN) == tx.pending());
      if (error == 0 && Drained()) return;
      REQUIRE((error == 0 || error == -EAGAIN));
      Read();
    }
    FAIL("it is never drained");
  }
  // Opens all that was sent: the contents of its data, then, in order, of all else.
  std::vector<Bytes> Hear() {
    REQUIRE(Drained());
    CheckCount();
    shutdown(fd, SHUT_WR);
    wire = Concat(wire, ReceiveAll(pair.raw.get(), 1 << 23));
    std::vector<Bytes> heard(1);
    for (size_t at = 0; at < wire.size();) {
      REQUIRE(wire.size() - at >= kHeaderLength);
      const size_t end =
          at + kHeaderLength + (static_cast<size_t>(wire[at + 3]) << 8 | wire[at + 4]);
      REQUIRE(end <= wire.size());
      const OpenResult opened = OpenOne(aead, opening, Slice(wire, at, end));
      REQUIRE(opened.alert == Alert::kNone);
      at = end;
      if (opened.type == kHandshake) REQUIRE(NextGeneration(&opening));
      if (opened.type == kData && heard.size() > 1) data_behind = true;
      if (opened.type == kData)
        heard[0] = Concat(heard[0], opened.content);
      else
        heard.push_back(opened.content);
    }
    return heard;
  }
  bool data_behind = false;  // the first of what is no data
};

using Heard = std::vector<Bytes>;

}  // namespace

TEST_CASE("kernel sender: begins anywhere, also where its sequence number carries") {
  for (uint16_t suite : kEverySuite) {
    for (uint64_t sequence : {0ull, 1ull, 2ull, 255ull, 0xffff'fffeull, 0x7fff'ffff'ffff'fff0ull}) {
      CAPTURE(suite);
      CAPTURE(sequence);
      Writer writer(suite, sequence);
      CHECK(writer.tx.engine == EngineKind::kKernel);
      CHECK(writer.tx.why == NotOffloaded::kNone);
      CHECK(writer.Drained());
      CHECK(writer.Send(40'000) == 0);
      CHECK(writer.tx.keys.sequence == sequence + 3);
      writer.FlushAll();
      CHECK(writer.Hear() == Heard{writer.content});
    }
  }
}

TEST_CASE("kernel sender: bytes that went out before the keys are not waited for") {
  const Pair pair = Connect();
  CHECK(Send(pair.kernel.get(), Pattern(5000)) == 5000);
  BufferPool pool;
  uint8_t scratch[64];
  KernelSender sender(pool, scratch, true, 1);
  Sending tx;
  tx.keys = KeysOf(0xCCA9);
  tx.keys.sequence = 1;
  REQUIRE(sender.Begin(tx, pair.kernel.get()) == 0);
  CHECK(sender.Drained(tx, pair.kernel.get()));
  CHECK(ReceiveAll(pair.raw.get(), 5000) == Pattern(5000));
  CHECK(sender.Drained(tx, pair.kernel.get()));
  CHECK(tx.wire_base == 5000);
}

TEST_CASE("kernel sender: keys that are refused leave the direction as it was") {
  const Pair pair = Connect(false);
  BufferPool pool;
  KernelSender sender(pool, nullptr, true, 1);
  Sending tx;
  tx.keys = KeysOf(0x1301);
  tx.why = NotOffloaded::kFewBytes;
  CHECK(sender.Begin(tx, pair.kernel.get()) == -ENOPROTOOPT);
  CHECK(tx.engine == EngineKind::kUserspace);
  CHECK(tx.why == NotOffloaded::kFewBytes);
}

TEST_CASE("kernel sender: content that is not taken stays, and goes on where it stopped") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Writer writer(suite);
    writer.Fill();
    const size_t left = writer.tx.unsent.size();
    CHECK(writer.Flush() == -EAGAIN);
    CHECK(writer.tx.unsent.size() == left);
    writer.FlushAll();
    CHECK(writer.tx.unsent.data == nullptr);
    CHECK(writer.Hear() == Heard{writer.content});
  }
}

TEST_CASE("kernel sender: two records behind unsent content keep their order, a third is refused") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Writer writer(suite);
    writer.Fill();
    CHECK(writer.sender.SealControl(writer.tx, kAlert, kNoRenegotiation));
    CHECK(writer.sender.SealControl(writer.tx, kAlert, kCloseNotify));
    CHECK_FALSE(writer.sender.SealControl(writer.tx, kAlert, Bytes{2, 20}));
    CHECK(writer.Flush() == -EAGAIN);
    CHECK(writer.tx.control_count == 2);
    writer.FlushAll();
    CHECK(writer.Hear() == Heard{writer.content, kNoRenegotiation, kCloseNotify});
    CHECK_FALSE(writer.data_behind);
  }
}

TEST_CASE("kernel sender: what is longer than it keeps is refused") {
  Writer writer;
  CHECK_FALSE(writer.sender.SealControl(writer.tx, kHandshake, Bytes(6)));
  CHECK(writer.sender.SealControl(writer.tx, kAlert, kCloseNotify));
  writer.FlushAll();
  CHECK(writer.Hear() == Heard{{}, kCloseNotify});
}

TEST_CASE("kernel sender: a control record that is not taken stays, and goes once") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Writer writer(suite);
    writer.FillExactly();
    CHECK_FALSE(writer.tx.pending());
    CHECK(writer.sender.SealControl(writer.tx, kAlert, kCloseNotify));
    for (int i = 0; i < 3; ++i) CHECK(writer.Flush() == -EAGAIN);
    CHECK(writer.tx.pending());
    CHECK(writer.tx.control_count == 1);
    writer.FlushAll();
    CHECK(writer.Hear() == Heard{writer.content, kCloseNotify});
  }
}

TEST_CASE("kernel sender: what the kernel can't rekey is refused and goes on as it was") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Writer writer(suite, 0, false);
    CHECK(writer.Send(1000) == 0);
    CHECK(writer.sender.SealKeyUpdate(writer.tx, false) == -EOPNOTSUPP);
    CHECK_FALSE(writer.tx.pending());
    CHECK(writer.tx.keys.generation == 0);
    CHECK(writer.Send(1000) == 0);
    writer.FlushAll();
    CHECK(writer.Hear() == Heard{writer.content});
  }
}

TEST_CASE("kernel sender: a KeyUpdate, and data under the next keys, over generations") {
  if (!Kernel().rekey) return;
  for (uint16_t suite : kSuites13) {
    CAPTURE(suite);
    Writer writer(suite, 7);
    Heard expected(1);
    for (uint32_t generation = 1; generation <= 5; ++generation) {
      CHECK(writer.Send(50'000 * generation) <= 0);
      while (writer.Flush() == -EAGAIN) writer.Read();
      CHECK(writer.sender.SealKeyUpdate(writer.tx, generation % 2 == 0) == 0);
      CHECK(writer.tx.keys.generation == generation);
      expected.push_back(generation % 2 == 0 ? kUpdateAndAsk : kUpdate);
      while (writer.Flush() == -EAGAIN) writer.Read();
      CHECK(writer.tx.keys.sequence == 0);
    }
    CHECK(writer.Send(1) == 0);
    writer.FlushAll();
    expected[0] = writer.content;
    CHECK(writer.Hear() == expected);
    CHECK(writer.opening.generation == 5);
    CHECK(writer.opening.sequence == writer.tx.keys.sequence);
  }
}

TEST_CASE("kernel sender: a KeyUpdate that is not taken holds back its keys and the alert behind") {
  if (!Kernel().rekey) return;
  for (uint16_t suite : kSuites13) {
    CAPTURE(suite);
    Writer writer(suite);
    writer.FillExactly();
    CHECK(writer.sender.SealKeyUpdate(writer.tx, false) == 0);
    CHECK(writer.sender.SealControl(writer.tx, kAlert, kCloseNotify));
    CHECK(writer.Flush() == -EAGAIN);
    CHECK(writer.tx.control_count == 2);
    writer.FlushAll();
    CHECK(writer.Hear() == Heard{writer.content, kUpdate, kCloseNotify});
    CHECK_FALSE(writer.data_behind);
    CHECK(writer.opening.sequence == 1);
  }
}

TEST_CASE("kernel sender: a KeyUpdate that was taken without its keys is not sent again") {
  if (!Kernel().rekey) return;
  Writer writer;
  // As a shortage between the two leaves it.
  CHECK(writer.Send(1000) == 0);
  REQUIRE(writer.sender.SealKeyUpdate(writer.tx, false) == 0);
  REQUIRE(SendControl(writer.fd, kHandshake, kUpdate) == 5);
  writer.tx.content += std::exchange(writer.tx.controls[0].length, 0);
  CHECK(writer.tx.pending());
  CHECK(writer.Flush() == 0);
  CHECK_FALSE(writer.tx.pending());
  CHECK(writer.Send(1000) == 0);
  writer.FlushAll();
  CHECK(writer.Hear() == Heard{writer.content, kUpdate});
}

TEST_CASE(
    "kernel sender: a kernel that turns out to refuse the next keys is an error, not a wait") {
  if (Kernel().rekey) return;
  Writer writer(0x1301, 0, true);
  REQUIRE(writer.sender.SealKeyUpdate(writer.tx, false) == 0);
  CHECK(writer.Flush() == -EPROTO);
  CHECK(writer.tx.pending());
  CHECK(writer.Flush() == -EPROTO);
}

TEST_CASE("kernel sender: it is not drained while accepted bytes wait above TCP, then it is") {
  for (uint16_t suite : kEverySuite) {
    bool waited = false;
    for (int buffer : kBuffers) {
      CAPTURE(suite);
      CAPTURE(buffer);
      Writer writer(suite, 3, Kernel().rekey, buffer);
      writer.FillExactly();
      CHECK_FALSE(writer.tx.pending());
      waited |= !writer.Drained();
      while (!writer.Drained()) writer.Read();
      CHECK(writer.Hear() == Heard{writer.content});
    }
    CHECK(waited);
  }
}

TEST_CASE("kernel sender: it is not drained over generations either, then it is") {
  if (!Kernel().rekey) return;
  for (uint16_t suite : kSuites13) {
    CAPTURE(suite);
    bool waited = false;
    for (int buffer : kBuffers) {
      Writer writer(suite, 0, Kernel().rekey, buffer);
      for (int i = 0; i < 3; ++i) {
        CHECK(writer.Send(1000) == 0);
        REQUIRE(writer.sender.SealKeyUpdate(writer.tx, false) == 0);
        CHECK(writer.Flush() == 0);
        CHECK(writer.Drained());
      }
      writer.FillExactly();
      waited |= !writer.Drained();
      while (!writer.Drained()) writer.Read();
      CHECK(writer.Hear() == Heard{writer.content, kUpdate, kUpdate, kUpdate});
    }
    CHECK(waited);
  }
}

TEST_CASE("kernel sender: nobody is waited for on a connection that is dead") {
  bool waited = false;
  for (int buffer : kBuffers) {
    CAPTURE(buffer);
    Writer writer(0x1301, 0, Kernel().rekey, buffer);
    writer.FillExactly();
    waited |= !writer.Drained();
    const linger now{1, 0};
    REQUIRE(setsockopt(writer.pair.raw.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    writer.pair.raw.Reset();
    for (int i = 0; i < kPatience * 1000 && !writer.Drained(); ++i) poll(nullptr, 0, 1);
    CHECK(writer.Drained());
    writer.Seal(100);
    const int error = writer.Flush();
    CHECK((error == -ECONNRESET || error == -EPIPE));
  }
  CHECK(waited);
}

TEST_CASE("kernel sender: what the session before has sealed is not sent by the next") {
  Writer one, other;
  CHECK(one.Send(1000) == 0);
  KernelSender shared(one.pool, one.scratch.get(), Kernel().rekey, 1);
  REQUIRE(one.pool.Secure(2));
  std::memcpy(one.scratch.get(), Pattern(500).data(), 500);
  REQUIRE(shared.Seal(one.tx, 500));
  CHECK(shared.Flush(one.tx, one.fd) == 0);
  CHECK(shared.Flush(other.tx, other.fd) == 0);
  CHECK(other.Drained());
  CHECK(other.Hear() == Heard{{}});
  CHECK(one.Hear() == Heard{Concat(one.content, Pattern(500))});
}
