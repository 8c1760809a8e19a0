// SPDX-License-Identifier: MIT
// KernelReceiver at the edges: what a 0 means, how many empty records there were, faults that are
// told in time and leave the connection able to send, and the way over from userspace.
#include <sys/socket.h>

#include <cerrno>

#include "random-client.h"
#include "record/kernel.h"
#include "record/userspace.h"
#include "sockets.h"

using namespace ironsocket;

namespace {

using Next = RecordReceiver::Next;
constexpr auto kData = ContentType::kApplicationData;
constexpr auto kAlert = ContentType::kAlert;
constexpr auto kHandshake = ContentType::kHandshake;
const Bytes kUpdate = {24, 0, 0, 1, 0};

struct Reader {
  Pair pair = Connect();
  int fd = pair.kernel.get();
  Aead aead;
  TrafficKeys sealing;  // the client's
  std::unique_ptr<uint8_t[]> scratch{new uint8_t[BufferPool::kLargest]};
  KernelReceiver receiver;
  Receiving rx;

  explicit Reader(uint16_t suite = 0x1301, uint32_t sample_bytes = 1 << 20)
      : sealing(KeysOf(suite)), receiver(scratch.get(), Kernel().rekey, sample_bytes) {
    rx.keys = KeysOf(suite);
    REQUIRE(receiver.Begin(rx, fd) == 0);
    CHECK(rx.engine == EngineKind::kKernel);
    CHECK(rx.why == NotOffloaded::kNone);
  }

  void Deliver(ContentType type, const Bytes& content) {
    ::Deliver(pair, SealOne(aead, sealing, type, content));
  }
  void DeliverEmpty(size_t count) {
    while (count-- > 0) Deliver(kData, {});
  }
  void Finish() {
    shutdown(pair.raw.get(), SHUT_WR);
    while ((Poll(fd, POLLRDHUP) & POLLRDHUP) == 0) poll(nullptr, 0, 1);
  }

  // One turn: how many records it told of, the last of them, and the fault.
  size_t Turn(size_t limit = 65536) {
    filled = receiver.Fill(rx, fd, limit);
    size_t records = 0;
    OpenedRecord record;
    alert = Alert::kNone;
    while ((last = receiver.NextRecord(rx, &record, &alert)) == Next::kRecord) {
      ++records;
      type = record.type;
      content.assign(record.content.begin(), record.content.end());
      wire_length = record.wire_length;
    }
    receiver.Park(rx);
    CHECK_FALSE(receiver.Ready(rx));
    return records;
  }
  uint64_t InKernel() const {
    uint64_t sequence = 0;
    REQUIRE(ReadSequence(fd, Direction::kReceive, rx.keys, &sequence) == 0);
    return sequence;
  }

  ssize_t filled = 0;
  Next last = Next::kMore;
  Alert alert = Alert::kNone;
  ContentType type{};
  Bytes content;
  size_t wire_length = 0;
};

}  // namespace

TEST_CASE("kernel receiver: a 0 is an empty record where its type is told, else the end") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Reader reader(suite);
    reader.Deliver(kData, {});
    reader.Deliver(kAlert, {1, 90});
    CHECK(reader.Turn() == 1);
    CHECK(reader.filled > 0);
    CHECK(reader.type == kData);
    CHECK(reader.content.empty());
    CHECK(reader.Turn() == 1);
    CHECK(reader.type == kAlert);
    CHECK(reader.content == Bytes{1, 90});
    reader.Finish();
    CHECK(reader.Turn() == 0);
    CHECK(reader.filled == 0);
    CHECK(reader.last == Next::kMore);
  }
}

TEST_CASE("kernel receiver: an empty control record is no end either") {
  for (ContentType type : {kAlert, kHandshake}) {
    for (uint16_t suite : {0x1302, 0xC02B}) {
      Reader reader(suite);
      reader.Deliver(type, {});
      CHECK(reader.Turn() == 1);
      CHECK(reader.filled > 0);
      CHECK(reader.type == type);
      CHECK(reader.content.empty());
    }
  }
}

TEST_CASE("kernel receiver: wire_length is what the records took, as far as can be told") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Reader reader(suite);
    const size_t overhead = reader.rx.keys.prefix() + reader.rx.keys.suffix();
    for (size_t size : {1, 16384}) {
      reader.Deliver(kData, Pattern(size));
      CHECK(reader.Turn() == 1);
      CHECK(reader.wire_length == size + overhead);
    }
    reader.Deliver(kData, Pattern(16384));
    reader.Deliver(kData, Pattern(1000));
    CHECK(reader.Turn() == 1);
    CHECK(reader.content == Concat(Pattern(16384), Pattern(1000)));
    CHECK(reader.wire_length == 17384 + 2 * overhead);
    CHECK(reader.rx.keys.sequence == reader.InKernel());
  }
}

TEST_CASE("kernel receiver: empty records right after the keys are told, all of them") {
  for (uint16_t suite : kEverySuite) {
    for (size_t count : {1u, 32u, 33u, 100u}) {
      CAPTURE(suite);
      CAPTURE(count);
      Reader reader(suite);
      reader.DeliverEmpty(count);
      CHECK(reader.Turn() == 0);
      CHECK(reader.filled == -EAGAIN);
      const size_t told = reader.Turn();
      CHECK(reader.filled == -EAGAIN);
      CHECK(told == std::min<size_t>(count, kMaxEmptyRecords + 1));
      CHECK(reader.type == kData);
      CHECK(reader.content.empty());
      CHECK(reader.Turn() == 0);
    }
  }
}

TEST_CASE("kernel receiver: the 33rd empty record without data ends a session, however they come") {
  Reader reader(0x1303);
  PostHandshakeState state;
  OpenedRecord empty = Opened(kData, {});
  int told = 0;
  Verdict verdict = Verdict::kIgnore;
  for (int sent = 0; sent < 40 && verdict == Verdict::kIgnore; ++sent) {
    reader.DeliverEmpty(1);
    for (size_t records = reader.Turn(); records > 0; --records, ++told) {
      verdict = Judge(TlsVersion::kTls13, empty, &state).verdict;
    }
  }
  CHECK(verdict == Verdict::kFault);
  CHECK(told == kMaxEmptyRecords + 1);
}

TEST_CASE("kernel receiver: empty records between others are never told twice or mistaken") {
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    Reader reader(kEverySuite[Below(random, 8)], OneIn(random, 2) ? 1 : 5000);
    size_t sent = 0, told = 0;
    for (int step = 0; step < 60; ++step) {
      const size_t kind = Below(random, 6);
      if (kind < 2) {
        reader.Deliver(kData, Pattern(1 + Below(random, 3000)));
      } else if (kind == 2) {
        reader.Deliver(kAlert, {1, 90});
      } else if (kind < 5) {
        const size_t count = 1 + Below(random, 4);
        reader.DeliverEmpty(count);
        sent += count;
      }
      for (size_t turns = Below(random, 4); turns > 0; --turns) {
        const size_t records = reader.Turn();
        if (reader.content.empty()) told += records;
        reader.content = {1};
        REQUIRE(reader.last == Next::kMore);
        REQUIRE(told <= sent);
      }
    }
    // Once it is quiet the count is exact again.
    do reader.Turn();
    while (reader.filled > 0);
    reader.Turn();
    CHECK(reader.rx.keys.sequence == reader.InKernel());
    CHECK(reader.rx.keys.sequence == reader.sealing.sequence);
    reader.DeliverEmpty(5);
    CHECK(reader.Turn() == 5);
  }
}

TEST_CASE("kernel receiver: the sequence number is exact after every sample") {
  for (uint32_t sample : {1u, 10'000u}) {
    Reader reader(0xC02C, sample);
    // Merged into one read, which looks like one record.
    for (int i = 0; i < 200; ++i) reader.Deliver(kData, Pattern(100));
    while (reader.Turn() > 0) continue;
    CHECK(reader.rx.keys.sequence == reader.sealing.sequence);
  }
}

TEST_CASE("kernel receiver: what splice moves is counted") {
  Reader reader(0x1301, 40'000);
  const Pipe pipe = MakePipe(16);
  for (int i = 1; i <= 6; ++i) {
    reader.Deliver(kData, Pattern(10'000));
    REQUIRE(SpliceFrom(reader.fd, pipe.in.get()) == 10'000);
    reader.rx.quiet = true;
    reader.receiver.Count(reader.rx, reader.fd, 10'000, 1);
    CHECK_FALSE(reader.rx.quiet);
    CHECK(reader.rx.keys.sequence == static_cast<uint64_t>(i));
    CHECK(reader.rx.unsampled == static_cast<uint32_t>(i % 4 * 10'000));
    Bytes bytes(10'000);
    REQUIRE(read(pipe.out.get(), bytes.data(), bytes.size()) == 10'000);
  }
}

TEST_CASE("kernel receiver: keys go on over generations, or are refused and nothing has changed") {
  for (uint16_t suite : kSuites13) {
    CAPTURE(suite);
    Reader reader(suite);
    for (uint32_t generation = 1; generation <= 3; ++generation) {
      reader.Deliver(kData, Pattern(500));
      reader.Deliver(kHandshake, kUpdate);
      REQUIRE(NextGeneration(&reader.sealing));
      reader.Deliver(kData, Pattern(700));
      CHECK(reader.Turn() == 1);
      CHECK(reader.content == Pattern(500));
      CHECK(reader.Turn() == 1);
      CHECK(reader.content == kUpdate);
      const int error = reader.receiver.NextKeys(reader.rx, reader.fd);
      CHECK(error == (Kernel().rekey ? 0 : -EOPNOTSUPP));
      CHECK(reader.rx.keys.generation == (Kernel().rekey ? generation : 0));
      if (error != 0) break;
      CHECK(reader.Turn() == 1);
      CHECK(reader.content == Pattern(700));
      CHECK(reader.InKernel() == 1);
    }
  }
}

TEST_CASE("kernel receiver: a kernel that turns out to refuse the next keys is told like one") {
  if (Kernel().rekey) return;
  Reader reader;
  KernelReceiver hopeful(reader.scratch.get(), true, 1);
  CHECK(hopeful.NextKeys(reader.rx, reader.fd) == -EOPNOTSUPP);
}

TEST_CASE("kernel receiver: behind a KeyUpdate empty records are counted anew") {
  if (!Kernel().rekey) return;
  Reader reader;
  reader.DeliverEmpty(3);
  reader.Deliver(kHandshake, kUpdate);
  REQUIRE(NextGeneration(&reader.sealing));
  reader.DeliverEmpty(7);
  reader.Turn();
  while (reader.type != kHandshake) reader.Turn();
  REQUIRE(reader.receiver.NextKeys(reader.rx, reader.fd) == 0);
  CHECK(reader.Turn() == 0);
  CHECK(reader.Turn() == 7);
}

TEST_CASE("kernel receiver: missing keys are nothing to read in TLS 1.3, the end in TLS 1.2") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Reader reader(suite);
    const bool tls13 = reader.rx.keys.version == TlsVersion::kTls13;
    reader.Deliver(kHandshake, kUpdate);
    if (tls13) REQUIRE(NextGeneration(&reader.sealing));
    reader.Deliver(kData, Pattern(100));
    CHECK(reader.Turn() == 1);
    CHECK(reader.content == kUpdate);
    CHECK(reader.Turn() == (tls13 || Kernel().rekey ? 0 : 1));
    if (Kernel().rekey) {
      CHECK(reader.last == (tls13 ? Next::kMore : Next::kFault));
      if (!tls13) CHECK(reader.alert == Alert::kUnexpectedMessage);
      if (tls13) CHECK(reader.filled == -EAGAIN);
      CHECK(reader.receiver.Discard(reader.rx, reader.fd, 1000) == -EBADMSG);
    } else if (tls13) {
      CHECK(reader.alert == Alert::kBadRecordMac);
    } else {
      CHECK(reader.content == Pattern(100));
    }
  }
}

TEST_CASE("kernel receiver: after any fault the alert can be sent, and opened") {
  struct Fault {
    Bytes header;
    Alert alert;
  };
  const Fault faults[] = {{{23, 3, 3, 0, 100}, Alert::kBadRecordMac},
                          {{23, 3, 3, 0, 8}, Alert::kBadRecordMac},
                          {{23, 3, 3, 0x60, 0}, Alert::kRecordOverflow},
                          {{23, 3, 2, 0, 100}, Alert::kProtocolVersion}};
  for (uint16_t suite : kEverySuite) {
    for (const auto& [header, alert] : faults) {
      for (bool data_first : {false, true}) {
        CAPTURE(suite);
        CAPTURE(static_cast<int>(alert));
        Reader reader(suite);
        TrafficKeys opening = KeysOf(suite, 2);
        REQUIRE(InstallKeys(reader.fd, Direction::kSend, opening) == 0);
        if (data_first) reader.Deliver(kData, Pattern(100));
        Deliver(reader.pair, Concat(header, Pattern(100)));
        if (data_first) {
          CHECK(reader.Turn() == 1);
          CHECK(reader.content == Pattern(100));
        }
        CHECK(reader.Turn() == 0);
        CHECK(reader.last == Next::kFault);
        CHECK(reader.alert == alert);
        CHECK(SendControl(reader.fd, kAlert, {2, static_cast<uint8_t>(alert)}) == 2);
        const OpenResult opened = OpenOne(reader.aead, opening, ReadWire(reader.pair.raw.get()));
        CHECK(opened.content == Bytes{2, static_cast<uint8_t>(alert)});
      }
    }
  }
}

TEST_CASE("kernel receiver: a fault or a record that nobody asked for is gone after Park") {
  Reader reader;
  reader.DeliverEmpty(4);
  reader.Turn();
  CHECK(reader.receiver.Fill(reader.rx, reader.fd, 65536) == -EAGAIN);
  reader.receiver.Park(reader.rx);
  OpenedRecord record;
  Alert alert = Alert::kNone;
  CHECK(reader.receiver.NextRecord(reader.rx, &record, &alert) == Next::kMore);
  Deliver(reader.pair, Bytes{23, 3, 3, 0, 100});
  Deliver(reader.pair, Pattern(100));
  CHECK(reader.receiver.Fill(reader.rx, reader.fd, 65536) == -EBADMSG);
  reader.receiver.Park(reader.rx);
  CHECK(reader.receiver.NextRecord(reader.rx, &record, &alert) == Next::kMore);
}

TEST_CASE("kernel receiver: Discard reads all types, then says the end or that there is none") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Reader reader(suite), broken(suite);
    reader.Deliver(kData, Pattern(3000));
    reader.Deliver(kAlert, {1, 90});
    CHECK(reader.receiver.Discard(reader.rx, reader.fd, 1) > 3000);
    CHECK(reader.receiver.Discard(reader.rx, reader.fd, 1) > 0);
    CHECK(reader.receiver.Discard(reader.rx, reader.fd, 1) == -EAGAIN);
    reader.Finish();
    CHECK(reader.receiver.Discard(reader.rx, reader.fd, 1) == 0);
    Deliver(broken.pair, Concat(Bytes{23, 3, 3, 0, 100}, Pattern(100)));
    CHECK(broken.receiver.Discard(broken.rx, broken.fd, 1) == -EBADMSG);
  }
}

TEST_CASE("kernel receiver: keys that are refused leave the direction as it was") {
  const Pair pair = Connect(false);
  Receiving rx;
  rx.keys = KeysOf(0x1301);
  rx.why = NotOffloaded::kFewBytes;
  KernelReceiver receiver(nullptr, true, 1);
  CHECK(receiver.Begin(rx, pair.kernel.get()) == -ENOPROTOOPT);
  CHECK(rx.engine == EngineKind::kUserspace);
  CHECK(rx.why == NotOffloaded::kFewBytes);
}
