// SPDX-License-Identifier: MIT
// Without ThreadSanitizer: there is one thread.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "net/unique_fd.h"
#include "record-oracle.h"
#include "record/userspace.h"

using namespace ironsocket;

namespace {

using Next = RecordReceiver::Next;

struct Reader {
  Aead aead;
  BufferPool pool;
  std::unique_ptr<uint8_t[]> scratch{new uint8_t[BufferPool::kLargest]};
  UserspaceReceiver receiver{aead, pool, scratch.get()};
  Receiving rx;
  UniqueFd ours, peer;
  TrafficKeys oracle;

  explicit Reader(uint16_t suite = 0x1301) {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    ours = UniqueFd(ends[0]);
    peer = UniqueFd(ends[1]);
    rx.keys = KeysOf(suite);
    oracle = KeysOf(suite);
    REQUIRE(pool.Secure(4));
  }
  ~Reader() { receiver.Forget(rx); }

  void Send(std::span<const uint8_t> bytes) {
    REQUIRE(send(peer.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) ==
            static_cast<ssize_t>(bytes.size()));
  }
  Bytes Record(size_t size, uint32_t seed) {
    return ForgeNext(oracle, ContentType::kApplicationData, Pattern(size, seed));
  }
  // Two of them; the order of a call's arguments would be the compiler's choice.
  Bytes TwoRecords(size_t first, size_t second) {
    const Bytes one = Record(first, 1);
    return Concat(one, Record(second, 2));
  }
  // Opens at most `most` records; their contents one after the other.
  Bytes Open(size_t most = SIZE_MAX) {
    Bytes all;
    OpenedRecord record;
    last = Next::kMore;
    for (size_t i = 0; i < most; i++) {
      last = receiver.NextRecord(rx, &record, &alert);
      if (last != Next::kRecord) break;
      all.insert(all.end(), record.content.begin(), record.content.end());
    }
    return all;
  }
  // One turn as the relay does it.
  Bytes Turn(size_t limit = 65536, size_t most = SIZE_MAX) {
    REQUIRE(pool.Secure(4));
    filled = receiver.Fill(rx, ours.get(), limit);
    Bytes all = Open(most);
    receiver.Park(rx);
    return all;
  }
  ssize_t filled = 0;
  Next last = Next::kMore;
  Alert alert = Alert::kNone;
};

}  // namespace

TEST_CASE("receiver: records that come byte by byte") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    Reader reader(suite);
    const Bytes stream = reader.TwoRecords(1, 40);
    Bytes got;
    for (size_t i = 0; i < stream.size(); i++) {
      reader.Send({&stream[i], 1});
      got = Concat(got, reader.Turn());
      CHECK(reader.filled == 1);
      CHECK(reader.last == Next::kMore);
      CHECK_FALSE(reader.receiver.Ready(reader.rx));
    }
    CHECK(got == Concat(Pattern(1, 1), Pattern(40, 2)));
    CHECK(reader.rx.partial.data == nullptr);  // nothing is held in between
    reader.Turn();
    CHECK(reader.filled == -EAGAIN);
  }
}

TEST_CASE("receiver: many records with one read, cut anywhere") {
  for (size_t limit : {1u, 7u, 1000u, 16406u, 20'000u, 100'000u, 1'000'000u}) {
    CAPTURE(limit);
    Reader reader(limit % 2 ? 0x1303 : 0xC02C);
    Bytes stream, expected, got;
    for (uint32_t i = 0; i < 12; i++) {
      const size_t size = limit < 100 ? i * 3 : i * 1500 % 16385;
      stream = Concat(stream, reader.Record(size, i));
      expected = Concat(expected, Pattern(size, i));
    }
    reader.Send(stream);
    shutdown(reader.peer.get(), SHUT_WR);
    do got = Concat(got, reader.Turn(limit));
    while (reader.filled > 0);
    CHECK(reader.filled == 0);
    CHECK(got == expected);
    CHECK(reader.rx.partial.data == nullptr);
  }
}

TEST_CASE("receiver: whole records that were parked come before the socket is asked") {
  Reader reader;
  Bytes stream, tail = Bytes();
  for (uint32_t i = 0; i < 6; i++) stream = Concat(stream, reader.Record(5000, i));
  const Bytes last = reader.Record(5000, 6);
  reader.Send(Concat(stream, std::span(last).first(2000)));
  CHECK(reader.Turn(65536, 2) == Concat(Pattern(5000, 0), Pattern(5000, 1)));
  CHECK(reader.receiver.Ready(reader.rx));
  reader.Send(std::span(last).subspan(2000));
  for (uint32_t i = 2; i < 6; i++) {
    CHECK(reader.Turn(65536, 1) == Pattern(5000, i));
    CHECK(reader.filled == -EALREADY);
    CHECK(reader.receiver.Ready(reader.rx) == (i < 5));
  }
  CHECK(reader.rx.partial.size() == 2000);
  CHECK(reader.Turn() == Pattern(5000, 6));
  CHECK(reader.filled == static_cast<ssize_t>(last.size()) - 2000);
  CHECK(reader.rx.partial.data == nullptr);
}

TEST_CASE("receiver: what is parked goes on under other keys after a KeyUpdate") {
  Reader reader;
  Bytes stream = ForgeNext(reader.oracle, ContentType::kHandshake, {24, 0, 0, 1, 0});
  REQUIRE(NextGeneration(&reader.oracle));
  stream = Concat(stream, reader.Record(100, 1));
  reader.Send(stream);
  CHECK(reader.Turn(65536, 1) == Bytes{24, 0, 0, 1, 0});
  reader.aead.Forget(reader.rx.keys.id);
  REQUIRE(NextGeneration(&reader.rx.keys));
  CHECK(reader.Turn() == Pattern(100, 1));
}

TEST_CASE("receiver: sessions of one thread do not see each other's bytes") {
  Reader one;
  Receiving other;
  other.keys = KeysOf(0xCCA9, 7);
  TrafficKeys oracle = KeysOf(0xCCA9, 7);
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  UniqueFd ours(ends[0]), peer(ends[1]);
  Bytes got_one, got_other, want_one, want_other;
  for (uint32_t i = 0; i < 50; i++) {
    const Bytes a = one.Record(200 + i, i);
    const Bytes b = ForgeNext(oracle, ContentType::kApplicationData, Pattern(300, i));
    want_one = Concat(want_one, Pattern(200 + i, i));
    want_other = Concat(want_other, Pattern(300, i));
    for (const bool first : {true, false}) {
      const auto part = [first](const Bytes& bytes) {
        return first ? std::span(bytes).first(90) : std::span(bytes).subspan(90);
      };
      one.Send(part(a));
      REQUIRE(send(peer.get(), part(b).data(), part(b).size(), 0) > 0);
      got_one = Concat(got_one, one.Turn());
      std::swap(one.rx, other);
      std::swap(one.ours, ours);
      got_other = Concat(got_other, one.Turn());
      std::swap(one.rx, other);
      std::swap(one.ours, ours);
    }
  }
  CHECK(got_one == want_one);
  CHECK(got_other == want_other);
  one.receiver.Forget(other);
}

TEST_CASE("receiver: what came before a fault is whole, the fault stays") {
  struct {
    Bytes bad;
    Alert alert;
  } const cases[] = {
      {FromHex("1503030002 0100"), Alert::kUnexpectedMessage},
      {FromHex("1703034101"), Alert::kRecordOverflow},  // the header is enough
      {FromHex("1703010020"), Alert::kDecodeError},
      {Concat(FromHex("1703030020"), Bytes(32)), Alert::kBadRecordMac},
  };
  for (const auto& test : cases) {
    Reader reader;
    reader.Send(Concat(reader.Record(500, 1), test.bad));
    CHECK(reader.Turn() == Pattern(500, 1));
    CHECK(reader.last == Next::kFault);
    CHECK(reader.alert == test.alert);
  }
  // A bad header alone makes it ready: nothing more has to come.
  Reader reader;
  reader.Send(Concat(reader.Record(5, 1), FromHex("1703034101")));
  reader.Turn(65536, 1);
  CHECK(reader.receiver.Ready(reader.rx));
  reader.Turn();
  CHECK(reader.filled == -EALREADY);
  CHECK(reader.alert == Alert::kRecordOverflow);
}

TEST_CASE("receiver: a broken socket still gives what was parked; its error is told") {
  Reader reader;
  reader.Send(reader.TwoRecords(50, 60));
  CHECK(reader.Turn(65536, 1) == Pattern(50, 1));
  reader.ours = UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC));
  CHECK(reader.Turn() == Pattern(60, 2));
  CHECK(reader.Turn().empty());
  CHECK(reader.filled == -ENOTSOCK);
}

TEST_CASE("receiver: written out and read back between two turns, the stream goes on") {
  Reader reader(0x1302);
  const Bytes stream = reader.TwoRecords(3000, 3000);
  reader.Send(std::span(stream).first(4000));
  CHECK(reader.Turn() == Pattern(3000, 1));
  Bytes frame(sizeof(TrafficKeys));
  std::memcpy(frame.data(), &reader.rx.keys, frame.size());
  const Bytes parked(reader.rx.partial.bytes().begin(), reader.rx.partial.bytes().end());
  reader.receiver.Forget(reader.rx);

  Reader next(0x1302);
  next.ours = std::move(reader.ours);
  next.peer = std::move(reader.peer);
  std::memcpy(static_cast<void*>(&next.rx.keys), frame.data(), frame.size());
  REQUIRE(next.pool.Append(&next.rx.partial, parked));
  next.Send(std::span(stream).subspan(4000));
  CHECK(next.Turn() == Pattern(3000, 2));
}
