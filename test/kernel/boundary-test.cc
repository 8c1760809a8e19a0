// SPDX-License-Identifier: MIT
// From userspace to the kernel in the middle of a stream that never pauses: userspace stops reading
// at the next record boundary, wherever it stands.
#include <sys/socket.h>

#include <cerrno>

#include "random-client.h"
#include "record/kernel.h"
#include "record/userspace.h"
#include "sockets.h"

using namespace ironsocket;

namespace {

constexpr auto kData = ContentType::kApplicationData;

struct Session {
  Pair pair = Connect();
  Aead aead;
  BufferPool pool;
  std::unique_ptr<uint8_t[]> scratch{new uint8_t[BufferPool::kLargest]};
  UserspaceReceiver userspace{aead, pool, scratch.get()};
  KernelReceiver kernel{scratch.get(), Kernel().rekey, 1 << 20};
  Receiving rx;
  Bytes got;

  explicit Session(uint16_t suite) { rx.keys = KeysOf(suite); }
  ~Session() { userspace.Forget(rx); }

  ssize_t Turn(size_t limit = 65536) {
    const bool ours = rx.engine == EngineKind::kUserspace;
    RecordReceiver& receiver = ours ? static_cast<RecordReceiver&>(userspace) : kernel;
    REQUIRE(pool.Secure(2));
    const ssize_t filled = receiver.Fill(rx, pair.kernel.get(), limit);
    OpenedRecord record;
    Alert alert = Alert::kNone;
    RecordReceiver::Next next;
    while ((next = receiver.NextRecord(rx, &record, &alert)) == RecordReceiver::Next::kRecord) {
      got.insert(got.end(), record.content.begin(), record.content.end());
    }
    REQUIRE(next == RecordReceiver::Next::kMore);
    receiver.Park(rx);
    return filled;
  }
  // Reads no further than to the end of a record. How often it had to.
  int SeekBoundary() {
    int reads = 0;
    while (const size_t rest = userspace.ToBoundary(rx)) {
      REQUIRE(++reads <= 2);  // a header, then the rest
      REQUIRE(Turn(rest) == static_cast<ssize_t>(rest));
    }
    return reads;
  }
};

struct Stream {
  Bytes wire, content;
  std::vector<size_t> boundaries = {0};

  Stream(uint16_t suite, std::initializer_list<size_t> sizes) {
    Aead aead;
    TrafficKeys keys = KeysOf(suite);
    for (size_t size : sizes) {
      const Bytes part = Pattern(size, static_cast<uint32_t>(wire.size() + 1));
      wire = Concat(wire, SealOne(aead, keys, kData, part));
      content = Concat(content, part);
      boundaries.push_back(wire.size());
    }
  }
};

}  // namespace

TEST_CASE("boundary: over to the kernel from any byte of a stream") {
  for (uint16_t suite : kEverySuite) {
    const Stream stream(suite, {1, 40, 0, 17, 90});
    // Every byte of two suites, every seventh of the others.
    const size_t stride = suite == 0x1301 || suite == 0xC02B ? 1 : 7;
    for (size_t split = 0; split < stream.wire.size(); split += stride) {
      CAPTURE(suite);
      CAPTURE(split);
      Session session(suite);
      if (split > 0) {
        Deliver(session.pair, Slice(stream.wire, 0, split));
        REQUIRE(session.Turn() == static_cast<ssize_t>(split));
      }
      // What is left lies ready: nobody may read on by mistake.
      Deliver(session.pair, Slice(stream.wire, split, stream.wire.size()));
      const bool between =
          std::count(stream.boundaries.begin(), stream.boundaries.end(), split) > 0;
      CHECK((session.SeekBoundary() == 0) == between);
      REQUIRE(session.kernel.Begin(session.rx, session.pair.kernel.get()) == 0);
      while (session.Turn() > 0) continue;
      CHECK(session.got == stream.content);
    }
  }
}

TEST_CASE("boundary: over to the kernel from the middle of full records") {
  for (uint16_t suite : kEverySuite) {
    const Stream stream(suite, {16384, 16384, 16384});
    for (size_t split : {3u, 5u, 1000u, 16383u, 16407u, 16414u, 30'000u}) {
      CAPTURE(suite);
      CAPTURE(split);
      Session session(suite);
      Deliver(session.pair, stream.wire);
      REQUIRE(session.Turn(split) == static_cast<ssize_t>(split));
      session.SeekBoundary();
      REQUIRE(session.kernel.Begin(session.rx, session.pair.kernel.get()) == 0);
      while (session.Turn() > 0) continue;
      CHECK(session.got == stream.content);
    }
  }
}

TEST_CASE("boundary: a whole record that waits, or one at fault, is opened before any other read") {
  const Stream stream(0x1301, {100, 200});
  Session session(0x1301);
  Deliver(session.pair, stream.wire);
  REQUIRE(session.pool.Secure(2));
  // Read, and not asked for: both stay with the session.
  REQUIRE(session.userspace.Fill(session.rx, session.pair.kernel.get(), 65536) > 0);
  session.userspace.Park(session.rx);
  CHECK(session.userspace.ToBoundary(session.rx) == 1);
  CHECK(session.Turn(1) == -EALREADY);
  CHECK(session.userspace.ToBoundary(session.rx) == 0);
  CHECK(session.got == stream.content);

  Deliver(session.pair, Bytes{23, 3, 9, 0, 100});
  REQUIRE(session.userspace.Fill(session.rx, session.pair.kernel.get(), 65536) == 5);
  session.userspace.Park(session.rx);
  CHECK(session.userspace.ToBoundary(session.rx) == 1);
  CHECK(session.userspace.Fill(session.rx, session.pair.kernel.get(), 1) == -EALREADY);
  session.userspace.Park(session.rx);
}
