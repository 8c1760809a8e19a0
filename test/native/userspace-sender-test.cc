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

struct Writer {
  Aead aead;
  BufferPool pool;
  std::unique_ptr<uint8_t[]> scratch{new uint8_t[BufferPool::kLargest]};
  UserspaceSender sender{aead, pool, scratch.get()};
  Sending tx;
  UniqueFd ours, peer;
  TrafficKeys oracle;
  Bytes wire;      // what has come out at the peer
  Bytes expected;  // what has to

  explicit Writer(uint16_t suite = 0x1301, int buffer = 0) {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    ours = UniqueFd(ends[0]);
    peer = UniqueFd(ends[1]);
    if (buffer > 0) setsockopt(ours.get(), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    tx.keys = KeysOf(suite);
    tx.keys.explicit_nonce = 0x1122334455667788;  // as ForgeNext counts
    oracle = KeysOf(suite);
    REQUIRE(pool.Secure(4));
  }
  ~Writer() { sender.Forget(tx); }

  // Puts `content` where Room says, and seals what fits.
  size_t Seal(const Bytes& content, size_t limit = SIZE_MAX) {
    std::array<iovec, RecordSender::kMaxPieces> pieces;
    const size_t count = sender.Room(tx, std::min(limit, content.size()), pieces);
    size_t done = 0;
    for (size_t i = 0; i < count; i++) {
      std::memcpy(pieces[i].iov_base, content.data() + done, pieces[i].iov_len);
      const auto begin = content.begin() + static_cast<ptrdiff_t>(done);
      done += pieces[i].iov_len;
      expected = Concat(expected,
                        ForgeNext(oracle, ContentType::kApplicationData,
                                  Bytes(begin, begin + static_cast<ptrdiff_t>(pieces[i].iov_len))));
    }
    CHECK(sender.Seal(tx, done));
    return done;
  }
  void Control(ContentType type, const Bytes& content) {
    CHECK(sender.SealControl(tx, type, content));
    expected = Concat(expected, ForgeNext(oracle, type, content));
  }
  int Flush() { return sender.Flush(tx, ours.get()); }
  void Drain(size_t most = SIZE_MAX) {
    uint8_t part[4096];
    while (most > 0) {
      const ssize_t got = recv(peer.get(), part, std::min(most, sizeof part), 0);
      if (got <= 0) return;
      wire.insert(wire.end(), part, part + got);
      most -= static_cast<size_t>(got);
    }
  }
};

}  // namespace

TEST_CASE("sender: a batch of records is byte for byte what the oracle seals") {
  for (uint16_t suite : kEverySuite) {
    CAPTURE(suite);
    for (size_t size : {1, 16383, 16384, 16385, 16 * 16384, 16 * 16384 + 1}) {
      CAPTURE(size);
      Writer writer(suite, 1 << 20);
      CHECK(writer.Seal(Pattern(size)) == std::min<size_t>(size, 16 * 16384));
      while (writer.Flush() == -EAGAIN) writer.Drain();
      writer.Drain();
      CHECK(writer.wire == writer.expected);
      CHECK(writer.tx.unsent.data == nullptr);
    }
  }
}

TEST_CASE("sender: Room never gives more than the limit, nor than a record may hold") {
  Writer writer;
  for (uint16_t most : {uint16_t{512}, uint16_t{4096}, uint16_t{16384}}) {
    writer.tx.max_content = most;
    for (size_t limit : {size_t{0}, size_t{1}, size_t{most}, size_t{most} + 1, size_t{1} << 30}) {
      std::array<iovec, RecordSender::kMaxPieces> pieces;
      const size_t count = writer.sender.Room(writer.tx, limit, pieces);
      size_t total = 0;
      for (size_t i = 0; i < count; i++) {
        CHECK(pieces[i].iov_len > 0);
        CHECK(pieces[i].iov_len <= most);
        auto* begin = static_cast<uint8_t*>(pieces[i].iov_base);
        CHECK(begin >= writer.scratch.get() + 5);
        CHECK(begin + pieces[i].iov_len + 17 <= writer.scratch.get() + BufferPool::kLargest);
        total += pieces[i].iov_len;
      }
      CHECK(total == std::min<size_t>(limit, size_t{most} * 16));
    }
  }
}

TEST_CASE("sender: records of max_content bytes, the last one shorter") {
  for (uint16_t most : {uint16_t{512}, uint16_t{1024}, uint16_t{2048}, uint16_t{4096}}) {
    Writer writer(0xC02B, 1 << 20);
    writer.tx.max_content = most;
    CHECK(writer.Seal(Pattern(most * 3u + 7)) == most * 3u + 7);
    REQUIRE(writer.Flush() == 0);
    writer.Drain();
    CHECK(writer.wire == writer.expected);
    CHECK(writer.tx.keys.sequence == 4);
  }
}

TEST_CASE(
    "sender: what a blocked socket does not take comes later, in order, control records too") {
  for (uint16_t suite : {uint16_t{0x1303}, uint16_t{0xC02B}}) {
    Writer writer(suite, 4096);
    size_t blocked = 0;
    for (uint32_t round = 0; round < 20; round++) {
      writer.Seal(Pattern(5000 + round * 777, round));
      int error = writer.Flush();
      if (error == -EAGAIN) {
        blocked++;
        // Behind what is unsent, even under other keys.
        writer.Control(ContentType::kAlert, {1, static_cast<uint8_t>(round)});
        if (suite == 0x1303 && round % 3 == 0) {
          writer.Control(ContentType::kHandshake, {24, 0, 0, 1, 0});
          REQUIRE(NextGeneration(&writer.tx.keys));
          REQUIRE(NextGeneration(&writer.oracle));
        }
      }
      while (error == -EAGAIN) {
        CHECK_FALSE(writer.tx.unsent.empty());
        writer.Drain(1000 + round * 100);
        error = writer.Flush();
      }
      REQUIRE(error == 0);
      CHECK(writer.tx.unsent.data == nullptr);
    }
    writer.Drain();
    CHECK(blocked > 10);
    CHECK(writer.wire == writer.expected);
  }
}

TEST_CASE("sender: a control record on an idle connection") {
  Writer writer;
  writer.Control(ContentType::kAlert, {1, 0});
  CHECK(writer.Flush() == 0);
  writer.Drain();
  CHECK(writer.wire == writer.expected);
  CHECK(writer.wire.size() == 24);
  CHECK(writer.Flush() == 0);  // nothing to send
}

TEST_CASE("sender: a dead connection is told as such, and keeps nothing back") {
  Writer writer;
  writer.peer.Reset();
  writer.Seal(Pattern(100));
  CHECK(writer.Flush() == -EPIPE);
  writer.Control(ContentType::kAlert, {1, 0});
  CHECK(writer.Flush() == -EPIPE);
}

TEST_CASE(
    "sender: at the end of the sequence numbers nothing more is sealed, and nothing is left") {
  Writer writer;
  writer.tx.keys.sequence = UINT64_MAX - 1;
  std::array<iovec, RecordSender::kMaxPieces> pieces;
  REQUIRE(writer.sender.Room(writer.tx, 40'000, pieces) == 3);
  CHECK_FALSE(writer.sender.Seal(writer.tx, 40'000));
  CHECK_FALSE(writer.sender.SealControl(writer.tx, ContentType::kAlert, Bytes{1, 0}));
  writer.sender.Forget(writer.tx);

  // The next session of the thread must not send what the last one could not.
  Sending next;
  next.keys = KeysOf(0x1301, 2);
  TrafficKeys oracle = KeysOf(0x1301, 2);
  REQUIRE(writer.sender.SealControl(next, ContentType::kAlert, Bytes{1, 0}));
  CHECK(writer.sender.Flush(next, writer.ours.get()) == 0);
  writer.Drain();
  CHECK(writer.wire == ForgeNext(oracle, ContentType::kAlert, {1, 0}));
  writer.sender.Forget(next);
}
