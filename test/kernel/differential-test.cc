// SPDX-License-Identifier: MIT
// The same bytes from a seeded generator through both record engines: what comes out has to be the
// same, but for a table of differences that the kernel leaves no way around. Each record, cut and
// fault comes from the seed that a failure names.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <ostream>

#include "random-client.h"
#include "record/kernel.h"
#include "record/post_handshake.h"
#include "record/userspace.h"
#include "sockets.h"

using namespace ironsocket;

namespace {

constexpr auto kData = ContentType::kApplicationData;

// --- what an engine makes of it

// A record that is no data, behind so many bytes of data.
struct Control {
  size_t at;
  ContentType type;
  Bytes content;
  Verdict verdict;
  bool operator==(const Control&) const = default;
};

struct Outcome {
  Bytes data;
  std::vector<Control> controls;
  std::string end;
  bool operator==(const Outcome&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  return out << outcome.data.size() << " bytes, " << outcome.controls.size() << " controls, "
             << outcome.end;
}

struct Rules {
  bool rekey = Kernel().rekey;  // whether a KeyUpdate can be followed
  bool swallows_empty = false;  // empty records of data are not told
};

// A session's way in: read, open, judge, as relay/to_backend.cc has it.
class Reader {
 public:
  Reader(RecordReceiver& receiver, Receiving& rx, int fd, BufferPool& pool, Rules rules)
      : receiver_(receiver), rx_(rx), fd_(fd), pool_(pool), rules_(rules) {}

  // False once the session is over.
  bool Turn(size_t limit) {
    if (!pool_.Secure(2)) FAIL("no memory");
    const ssize_t filled = receiver_.Fill(rx_, fd_, limit);
    OpenedRecord record;
    Alert alert = Alert::kNone;
    RecordReceiver::Next next = RecordReceiver::Next::kMore;
    while (outcome.end.empty() &&
           (next = receiver_.NextRecord(rx_, &record, &alert)) == RecordReceiver::Next::kRecord) {
      Act(record);
    }
    if (outcome.end.empty()) {
      if (next == RecordReceiver::Next::kFault)
        outcome.end = AlertName(alert);
      else if (filled == 0)
        outcome.end = "truncated";
      else if (filled < 0 && filled != -EAGAIN && filled != -EALREADY)
        outcome.end = "error " + std::to_string(-filled);
    }
    receiver_.Park(rx_);
    idle = filled == -EAGAIN;
    return outcome.end.empty();
  }

  Outcome outcome;
  bool idle = false;

 private:
  void Act(const OpenedRecord& record) {
    const bool empty = record.type == kData && record.content.empty();
    if (empty && rules_.swallows_empty) return;
    const Judgement judgement = Judge(rx_.keys.version, record, &state_);
    switch (judgement.verdict) {
      case Verdict::kData:
        outcome.data.insert(outcome.data.end(), record.content.begin(), record.content.end());
        return;
      case Verdict::kFault:
        outcome.end = AlertName(judgement.alert);
        return;
      default:
        break;
    }
    if (empty) return;
    outcome.controls.push_back({outcome.data.size(), record.type,
                                Bytes(record.content.begin(), record.content.end()),
                                judgement.verdict});
    if (judgement.verdict == Verdict::kCloseNotify) outcome.end = "close_notify";
    if (judgement.verdict == Verdict::kPeerAlert) outcome.end = "peer alert";
    const bool update = judgement.verdict == Verdict::kKeyUpdate ||
                        judgement.verdict == Verdict::kKeyUpdateRequested;
    if (!update) return;
    const int error = rules_.rekey ? receiver_.NextKeys(rx_, fd_) : -EOPNOTSUPP;
    if (error == -EOPNOTSUPP)
      outcome.end = "no keys";
    else if (error != 0)
      outcome.end = "keys " + std::to_string(-error);
  }

  RecordReceiver& receiver_;
  Receiving& rx_;
  const int fd_;
  BufferPool& pool_;
  const Rules rules_;
  PostHandshakeState state_;
};

// Sends `wire` in pieces, then the FIN; reads in between as it happens.
void Relay(Random& random, int peer, const Bytes& wire, Reader& reader, bool any_limit) {
  const auto turn = [&] {
    return reader.Turn(any_limit && OneIn(random, 2) ? 1 + Below(random, 20'000)
                                                     : kMaxPlaintext << Below(random, 5));
  };
  const size_t widest = std::max<size_t>(2 * wire.size() >> Below(random, 9), 2);
  bool open = true;
  for (size_t at = 0; open && at < wire.size();) {
    const size_t size = std::min(wire.size() - at, 1 + Below(random, widest));
    const ssize_t sent = send(peer, wire.data() + at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) at += static_cast<size_t>(sent);
    // A few turns more than there is something to read; empty records hide in those.
    for (size_t turns = sent > 0 ? Below(random, 4) : 1; open && turns > 0; --turns) open = turn();
  }
  shutdown(peer, SHUT_WR);
  for (int i = 0; open && i < kPatience * 1000; ++i) {
    open = turn();
    if (reader.idle) poll(nullptr, 0, 1);
  }
  if (open) reader.outcome.end = "stuck";
}

Outcome ThroughKernel(uint16_t suite, Random random, const Bytes& wire) {
  static constexpr uint32_t kSamples[] = {1, 5000, 1 << 20};
  const Pair pair = Connect();
  BufferPool pool;
  const std::unique_ptr<uint8_t[]> scratch(new uint8_t[BufferPool::kLargest]);
  KernelReceiver receiver(scratch.get(), Kernel().rekey, kSamples[Below(random, 3)]);
  Receiving rx;
  rx.keys = KeysOf(suite);
  REQUIRE(receiver.Begin(rx, pair.kernel.get()) == 0);
  Reader reader(receiver, rx, pair.kernel.get(), pool, {});
  Relay(random, pair.raw.get(), wire, reader, false);
  return reader.outcome;
}

Outcome ThroughUserspace(uint16_t suite, Random random, const Bytes& wire, Rules rules = {}) {
  const Pair pair = Connect(false);
  Aead aead;
  BufferPool pool;
  const std::unique_ptr<uint8_t[]> scratch(new uint8_t[BufferPool::kLargest]);
  UserspaceReceiver receiver(aead, pool, scratch.get());
  Receiving rx;
  rx.keys = KeysOf(suite);
  Reader reader(receiver, rx, pair.kernel.get(), pool, rules);
  Relay(random, pair.raw.get(), wire, reader, true);
  receiver.Forget(rx);
  return reader.outcome;
}

// --- where they may differ

// The same bytes and records come out before, but the fault has another name.
struct Difference {
  Fault fault;
  int version;  // minor, 0: both
  const char* userspace;
  const char* kernel;
  const char* reason;
};
constexpr Difference kDifferences[] = {
    {Fault::kVersion, 13, "decode_error", "protocol_version",
     "EINVAL does not tell versions apart"},
    {Fault::kType, 12, "unexpected_message", "bad_record_mac",
     "the kernel looks at no type, but authenticates it"},
    {Fault::kAllZero, 13, "unexpected_message", "bad_record_mac",
     "a record without a type is EBADMSG like one that can't be opened"},
    // No honest record is as long as the RFCs let a header say, and the kernel goes by that.
    {Fault::kLength, 0, "bad_record_mac", "record_overflow", "the kernel refuses it by its header"},
    {Fault::kLength, 0, "truncated", "record_overflow", "userspace waits for the rest of it"},
};

bool Tolerated(const Client& client, const Outcome& userspace, const Outcome& kernel) {
  if (userspace.data != kernel.data || userspace.controls != kernel.controls) return false;
  return std::any_of(std::begin(kDifferences), std::end(kDifferences), [&](const auto& allowed) {
    return allowed.fault == client.fault &&
           (allowed.version == 0 || (allowed.version == 13) == client.tls13()) &&
           userspace.end == allowed.userspace && kernel.end == allowed.kernel;
  });
}

// What the kernel has to come to where it goes on and userspace does not, or the other way round;
// userspace tells it from another stream or by other rules.
Outcome Expected(uint16_t suite, const Random& random, Client& client, const Outcome& userspace) {
  switch (client.fault) {
    case Fault::kType:
      // TLS 1.3: the kernel does not look at the outer type and authenticates the one it ought to
      // be, so the record is honest.
      if (!client.tls13()) return userspace;
      client.records[client.at] = client.before;
      return ThroughUserspace(suite, random, client.Wire());
    case Fault::kHelloLikeKeyUpdate: {
      // A kernel that can rekey waits for keys behind it that never come.
      if (!Kernel().rekey) return userspace;
      client.records.resize(client.at + 1);
      Outcome stopped = ThroughUserspace(suite, random, client.Wire());
      if (stopped.end == "truncated") stopped.end = "unexpected_message";
      return stopped;
    }
    case Fault::kEmptyInHello:
      // Swallowed, if nothing else makes the kernel tell of it.
      return ThroughUserspace(suite, random, client.Wire(), {Kernel().rekey, true});
    default:
      return userspace;
  }
}

void CheckReceivers(uint32_t seed, std::string* summary) {
  CAPTURE(seed);
  Random random(seed);
  const uint16_t suite = kEverySuite[Below(random, std::size(kEverySuite))];
  const bool tls13 = SuiteById(suite)->version == TlsVersion::kTls13;
  Fault fault = Fault::kNone;
  do fault = static_cast<Fault>(Below(random, kFaults));
  while (!Applies(fault, tls13));
  CAPTURE(suite);
  CAPTURE(static_cast<int>(fault));
  Client client(suite, random, fault);
  client.Talk();
  const Bytes wire = client.Wire();
  const Outcome userspace = ThroughUserspace(suite, random, wire);
  const Outcome kernel = ThroughKernel(suite, random, wire);
  if (userspace == kernel || Tolerated(client, userspace, kernel)) {
    *summary = kernel.end;
    return;
  }
  const Outcome expected = Expected(suite, random, client, userspace);
  CAPTURE(userspace);
  CHECK(kernel == expected);
  *summary = "apart";
}

}  // namespace

TEST_CASE("differential: what comes in is the same with both engines, honest or not") {
  std::vector<std::string> ends;
  for (uint32_t seed = 1; seed <= 1000; ++seed) CheckReceivers(seed, &ends.emplace_back());
  // Else the generator has lost its way.
  for (const std::string end : {"close_notify", "truncated", "bad_record_mac", "record_overflow",
                                "unexpected_message", "protocol_version", "peer alert", "apart"}) {
    CAPTURE(end);
    CHECK(std::count(ends.begin(), ends.end(), end) > 0);
  }
}
