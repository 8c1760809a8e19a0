// SPDX-License-Identifier: MIT
// The same script through both ways out, into a socket that takes little at a time: a client that
// opens the records by itself hears the same, each word under the same generation of keys.
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "random-client.h"
#include "record/kernel.h"
#include "record/userspace.h"
#include "sockets.h"

using namespace ironsocket;

namespace {

constexpr auto kData = ContentType::kApplicationData;
constexpr auto kAlert = ContentType::kAlert;
constexpr auto kHandshake = ContentType::kHandshake;

struct Words {
  ContentType type;
  Bytes content;
  uint32_t generation = 0;  // of the keys that they are sealed under
  size_t at = 0;            // bytes of data before
  bool operator==(const Words&) const = default;
};

// What the server says: data of all sizes, warnings and KeyUpdates in between, close_notify.
std::vector<Words> Script(Random& random, bool updates) {
  std::vector<Words> script;
  for (size_t i = 0; i < 16; ++i) {
    if (updates && OneIn(random, 5)) {
      script.push_back({kHandshake, {24, 0, 0, 1, static_cast<uint8_t>(Below(random, 2))}});
    } else if (OneIn(random, 5)) {
      script.push_back({kAlert, {kAlertWarning, 100}});
    } else {
      const size_t size = OneIn(random, 2) ? Below(random, 100'000) : Below(random, 1000);
      script.push_back({kData, Pattern(1 + size, random())});
    }
  }
  script.push_back({kAlert, {kAlertWarning, 0}});
  return script;
}

class Server {
 public:
  Server(RecordSender& sender, Sending& tx, const Pair& pair, BufferPool& pool, Random random)
      : sender_(sender), tx_(tx), pair_(pair), pool_(pool), random_(random) {}

  // All that arrives at the other end, on the wire.
  Bytes Say(const std::vector<Words>& script) {
    for (const Words& words : script) {
      if (words.type == kData) {
        SayData(words.content);
      } else if (words.type == kHandshake) {
        while (tx_.pending()) Flush();
        REQUIRE(sender_.SealKeyUpdate(tx_, words.content[4] == 1) == 0);
      } else {
        while (tx_.control_count == std::size(tx_.controls)) Flush();
        REQUIRE(sender_.SealControl(tx_, words.type, words.content));
      }
      if (OneIn(random_, 2)) Flush();
    }
    while (tx_.pending()) Flush();
    while (!sender_.Drained(tx_, pair_.kernel.get())) Read();
    shutdown(pair_.kernel.get(), SHUT_WR);
    return Concat(wire_, ReceiveAll(pair_.raw.get(), 1 << 22));
  }

  int blocked = 0;  // times that the socket took no more

 private:
  void SayData(const Bytes& data) {
    for (size_t at = 0; at < data.size();) {
      while (tx_.pending()) Flush();
      std::array<iovec, RecordSender::kMaxPieces> pieces;
      const size_t limit = std::min(data.size() - at, 1 + Below(random_, 120'000));
      const size_t count = sender_.Room(tx_, limit, pieces);
      size_t length = 0;
      for (size_t i = 0; i < count; ++i) {
        std::memcpy(pieces[i].iov_base, data.data() + at + length, pieces[i].iov_len);
        length += pieces[i].iov_len;
      }
      REQUIRE(sender_.Seal(tx_, length));
      Flush();
      at += length;
    }
  }
  void Flush() {
    REQUIRE(pool_.Secure(2));
    const int error = sender_.Flush(tx_, pair_.kernel.get());
    CHECK((error == -EAGAIN) == tx_.pending());
    if (error == 0) return;
    REQUIRE(error == -EAGAIN);
    ++blocked;
    Read();
  }
  void Read() {
    REQUIRE(++reads_ < kPatience * 1000);
    Bytes part(1 + Below(random_, 100'000));
    const ssize_t got = recv(pair_.raw.get(), part.data(), part.size(), MSG_DONTWAIT);
    if (got <= 0) poll(nullptr, 0, 1);
    part.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
    wire_ = Concat(wire_, part);
  }

  RecordSender& sender_;
  Sending& tx_;
  const Pair& pair_;
  BufferPool& pool_;
  Random random_;
  Bytes wire_;
  int reads_ = 0;
};

// Opens a whole wire; data is put together, as where its records end is the engine's own choice.
std::vector<Words> OpenAll(uint16_t suite, const Bytes& wire) {
  Aead aead;
  TrafficKeys keys = KeysOf(suite);
  std::vector<Words> all(1, {kData, {}});
  for (size_t at = 0; at + kHeaderLength <= wire.size();) {
    const size_t end = at + kHeaderLength + (static_cast<size_t>(wire[at + 3]) << 8 | wire[at + 4]);
    REQUIRE(end <= wire.size());
    const OpenResult opened = OpenOne(aead, keys, Slice(wire, at, end));
    REQUIRE(opened.alert == Alert::kNone);
    at = end;
    if (opened.type == kData) {
      all[0].content = Concat(all[0].content, opened.content);
    } else {
      all.push_back({opened.type, opened.content, keys.generation, all[0].content.size()});
    }
    if (opened.type == kHandshake) REQUIRE(NextGeneration(&keys));
  }
  return all;
}

std::vector<Words> Together(const std::vector<Words>& script) {
  std::vector<Words> all(1, {kData, {}});
  uint32_t generation = 0;
  for (const Words& words : script) {
    if (words.type == kData) {
      all[0].content = Concat(all[0].content, words.content);
    } else {
      all.push_back({words.type, words.content, generation, all[0].content.size()});
    }
    if (words.type == kHandshake) ++generation;
  }
  return all;
}

// How often the socket took no more.
int CheckSender(EngineKind kind, uint16_t suite, Random random, const std::vector<Words>& script) {
  const Pair pair = Connect();
  const int buffer = 4096 << Below(random, 6);
  REQUIRE(setsockopt(pair.kernel.get(), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer) == 0);
  Aead aead;
  BufferPool pool;
  const std::unique_ptr<uint8_t[]> scratch(new uint8_t[BufferPool::kLargest]);
  KernelSender kernel(pool, scratch.get(), Kernel().rekey, 1 << Below(random, 20));
  UserspaceSender userspace(aead, pool, scratch.get());
  Sending tx;
  tx.keys = KeysOf(suite);
  const int flags = fcntl(pair.kernel.get(), F_GETFL);
  REQUIRE(fcntl(pair.kernel.get(), F_SETFL, flags | O_NONBLOCK) == 0);
  if (kind == EngineKind::kKernel) REQUIRE(kernel.Begin(tx, pair.kernel.get()) == 0);
  RecordSender& sender =
      kind == EngineKind::kKernel ? static_cast<RecordSender&>(kernel) : userspace;
  Server server(sender, tx, pair, pool, random);
  const std::vector<Words> heard = OpenAll(suite, server.Say(script));
  CHECK(heard == Together(script));
  sender.Forget(tx);
  return server.blocked;
}

}  // namespace

TEST_CASE("differential: what goes out is the same with both engines, however little is taken") {
  int blocked[2] = {};
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const uint16_t suite = kEverySuite[Below(random, std::size(kEverySuite))];
    CAPTURE(suite);
    const bool tls13 = SuiteById(suite)->version == TlsVersion::kTls13;
    const std::vector<Words> script = Script(random, tls13 && Kernel().rekey);
    for (EngineKind kind : {EngineKind::kUserspace, EngineKind::kKernel}) {
      CAPTURE(static_cast<int>(kind));
      blocked[static_cast<int>(kind)] += CheckSender(kind, suite, random, script);
    }
  }
  CHECK(blocked[0] > 10);
  CHECK(blocked[1] > 10);
}
