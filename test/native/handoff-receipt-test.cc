// SPDX-License-Identifier: MIT
// What a recipient takes and what it refuses: a donor's batches, changed on their way by somebody
// between two engines of one process.
#include <doctest/doctest.h>
#include <sys/un.h>

#include <algorithm>

#include "frame-edit.h"
#include "handoff/batch.h"
#include "live-engine.h"
#include "socket-pair.h"

using namespace ironsocket;

namespace {

// Three sessions of engine `a`, whose batch has come to us and not yet gone on to `b`.
struct Between {
  LiveEngine a, b;
  std::vector<std::unique_ptr<LiveSession>> sessions;
  SocketPair donor, recipient;
  Prepare prepare;
  std::vector<int> fds;
  Bytes frames;

  Between() {
    a.Configure();
    for (int i = 0; i < 3; ++i) sessions.push_back(std::make_unique<LiveSession>(a));
    b.engine.TakeSessions(Only(std::move(recipient.theirs)));
    CHECK(Answered() == Refusal::kNone);  // it listens
    a.engine.GiveSessions(Only(std::move(donor.theirs)));
    REQUIRE(SendAnswer(donor.ours.get(), {}) == 0);
    Next();
  }
  // The donor's next batch.
  void Next() {
    prepare = Prepare{};
    Refusal refusal;
    Eventually([&] { return ReceivePrepare(donor.ours.get(), &prepare, &refusal) == 0; });
    REQUIRE_FALSE(prepare.taken_back);
    fds.clear();
    for (const UniqueFd& fd : prepare.fds) fds.push_back(fd.get());
    frames.assign(prepare.frames.begin(), prepare.frames.end());
  }
  void Forward() {
    REQUIRE(SendPrepare(recipient.ours.get(), prepare.id, prepare.sessions, 0, frames, fds) == 0);
  }
  Refusal Answered() {
    Answer answer;
    Eventually([&] { return ReceiveAnswer(recipient.ours.get(), &answer) == 0; });
    CHECK(answer.id == prepare.id);
    return answer.refusal;
  }
  Refusal Offer() {
    Forward();
    return Answered();
  }
  void Accept() { REQUIRE(SendAnswer(donor.ours.get(), {prepare.id}) == 0); }
  void Alive() {
    for (auto& session : sessions) {
      REQUIRE(session->client.Write({'x'}));
      REQUIRE(Receive(session->backend.get(), 1) == Bytes{'x'});
      SendAll(session->backend.get(), {'z'});
      REQUIRE(session->client.Read(1) == Bytes{'z'});
    }
  }
  // Frames that begin at each of these, and the end.
  std::vector<size_t> Starts() const {
    std::vector<size_t> starts{0};
    while (starts.back() < frames.size()) {
      starts.push_back(starts.back() + FrameEdit::Get(frames, starts.back() + 8, 4));
    }
    return starts;
  }
  Bytes Frame(size_t index) const {
    const auto starts = Starts();
    return Bytes(frames.begin() + static_cast<ptrdiff_t>(starts[index]),
                 frames.begin() + static_cast<ptrdiff_t>(starts[index + 1]));
  }
  void Replace(size_t index, const Bytes& frame) {
    Bytes all;
    for (size_t i = 0; i < prepare.sessions; ++i) {
      const Bytes each = i == index ? frame : Frame(i);
      all.insert(all.end(), each.begin(), each.end());
    }
    frames = all;
  }
};

size_t OpenFds() {
  size_t count = 0;
  for (int fd = 0; fd < 2048; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

}  // namespace

TEST_CASE("handoff receipt: an honest batch is taken, and goes on there") {
  Between between;
  REQUIRE(between.prepare.sessions == 3);
  REQUIRE(between.fds.size() == 6);
  CHECK(between.Offer() == Refusal::kNone);
  between.Accept();
  Eventually([&] { return between.a.Count(Counter::kSessionsOpen) == 0; });
  CHECK(between.b.Count(Counter::kSessionsOpen) == 3);
  between.Alive();
}

TEST_CASE("handoff receipt: what is wrong is refused with its reason, and leaves nothing behind") {
  Between between;
  const auto good_fds = between.fds;
  const Bytes good_frames = between.frames;
  const uint32_t good_count = between.prepare.sessions;
  const size_t before = OpenFds();
  const auto check = [&](Refusal expected) {
    CHECK(between.Offer() == expected);
    between.fds = good_fds;
    between.frames = good_frames;
    between.prepare.sessions = good_count;
    Eventually([&] { return OpenFds() == before; });
    CHECK(between.b.Count(Counter::kSessionsOpen) == 0);
  };

  std::swap(between.fds[0], between.fds[2]);  // clients of two sessions
  check(Refusal::kSockets);
  std::swap(between.fds[1], between.fds[3]);  // backends
  check(Refusal::kSockets);
  std::swap(between.fds[4], between.fds[5]);  // both legs of the last
  check(Refusal::kSockets);
  between.fds[5] = between.fds[4];
  check(Refusal::kSockets);
  between.fds[2] = between.fds[0];
  check(Refusal::kSockets);

  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  const UniqueFd pipe_in(ends[0]), pipe_out(ends[1]);
  const UniqueFd unconnected(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const UniqueFd datagram(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const UniqueFd file(open("/dev/null", O_RDWR | O_CLOEXEC));
  Eventually([&] { return OpenFds() == before + 5; });
  for (const int wrong : {pipe_in.get(), pipe_out.get(), unconnected.get(), datagram.get(),
                          file.get(), between.a.front.fd.get()}) {
    for (const size_t place : {0, 1, 5}) {
      between.fds[place] = wrong;
      CHECK(between.Offer() == Refusal::kSockets);
      between.fds = good_fds;
    }
  }
  between.fds.pop_back();
  CHECK(between.Offer() == Refusal::kMessage);
  between.fds = good_fds;
  between.fds.push_back(good_fds[0]);
  CHECK(between.Offer() == Refusal::kMessage);
  between.fds = good_fds;
  for (const uint32_t count : {0, 1, 2, 4, 1000}) {
    CAPTURE(count);
    between.prepare.sessions = count;
    CHECK(between.Offer() == (count > good_count ? Refusal::kFrame : Refusal::kMessage));
  }
  between.prepare.sessions = good_count;

  for (const size_t size : {size_t{0}, size_t{19}, good_frames.size() - 1}) {
    between.frames.resize(size);
    CHECK(between.Offer() == Refusal::kFrame);
    between.frames = good_frames;
  }
  between.frames[good_frames.size() / 2] ^= 1;
  CHECK(between.Offer() == Refusal::kFrame);
  between.frames = good_frames;
  between.frames.push_back(0);
  CHECK(between.Offer() == Refusal::kMessage);
  between.frames = good_frames;
  between.Replace(2, FrameEdit::WithVersion(between.Frame(2), 3));
  CHECK(between.Offer() == Refusal::kVersion);
  between.frames = good_frames;
  between.Replace(1, FrameEdit::WithField(between.Frame(1), 999, 1, {}));
  CHECK(between.Offer() == Refusal::kFrame);
  between.frames = good_frames;
  Eventually([&] { return OpenFds() == before + 5; });
  CHECK(between.b.Count(Counter::kSessionsTaken) == 0);

  // After all that the same batch, of a neighbour's version, with a field that nobody knows.
  for (size_t i = 0; i < good_count; ++i) {
    const Bytes more = FrameEdit::WithField(between.Frame(i), 999, 0, Bytes(100, 1));
    between.Replace(i, FrameEdit::WithVersion(more, 2));
  }
  CHECK(between.Offer() == Refusal::kNone);
  between.Accept();
  Eventually([&] { return between.a.Count(Counter::kSessionsOpen) == 0; });
  between.Alive();
}

TEST_CASE("handoff receipt: a frame that names no sockets is taken with any streams") {
  Between between;
  for (size_t i = 0; i < 3; ++i) between.Replace(i, FrameEdit::Without(between.Frame(i), 15));
  const int client = between.fds[0];
  between.fds[0] = between.a.front.fd.get();
  const UniqueFd datagram(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  between.fds[0] = datagram.get();
  CHECK(between.Offer() == Refusal::kSockets);
  between.fds[0] = client;
  CHECK(between.Offer() == Refusal::kNone);
  between.Accept();
  Eventually([&] { return between.a.Count(Counter::kSessionsOpen) == 0; });
  between.Alive();
}

TEST_CASE("handoff receipt: a refused batch comes one by one, and who is refused again stays") {
  Between between;
  REQUIRE(SendAnswer(between.donor.ours.get(), {between.prepare.id, Refusal::kDescriptors}) == 0);
  for (int i = 0; i < 3; ++i) {
    between.Next();
    REQUIRE(between.prepare.sessions == 1);
    if (i == 1) {
      REQUIRE(SendAnswer(between.donor.ours.get(), {between.prepare.id, Refusal::kDescriptors}) ==
              0);
    } else {
      REQUIRE(between.Offer() == Refusal::kNone);
      between.Accept();
    }
  }
  Eventually([&] { return between.a.Count(Counter::kSessionsGiven) == 2; });
  CHECK(between.a.Count(Counter::kSessionsOpen) == 1);
  CHECK(std::string(between.a.engine.HandoffRefusal()) ==
        "the new worker has no room for more descriptors");
  between.Alive();
  // The next time it is asked for again.
  SocketPair again;
  between.a.engine.GiveSessions(Only(std::move(again.theirs)));
  between.donor.ours = std::move(again.ours);
  REQUIRE(SendAnswer(between.donor.ours.get(), {}) == 0);
  between.Next();
  CHECK(between.prepare.sessions == 1);
  CHECK(between.Offer() == Refusal::kNone);
  between.Accept();
  Eventually([&] { return between.a.Count(Counter::kSessionsOpen) == 0; });
  CHECK(between.a.Count(Counter::kSessionsStaying) == 0);
  CHECK(std::string(between.a.engine.HandoffRefusal()).empty());
  between.Alive();
}

TEST_CASE(
    "handoff receipt: an answer that is not heard leaves the batch to the donor's last word") {
  Between between;
  const size_t before = OpenFds();
  REQUIRE(shutdown(between.recipient.ours.get(), SHUT_RD) == 0);
  between.Forward();
  Eventually([&] { return OpenFds() == before + 6; });  // made, and held
  SUBCASE("taken back") {
    REQUIRE(SendTakenBack(between.recipient.ours.get(), between.prepare.id) == 0);
    Eventually([&] { return OpenFds() == before - 1; });
    CHECK(between.b.Count(Counter::kSessionsTaken) == 0);
    between.donor.ours.Reset();
    between.prepare.fds.clear();
    between.Alive();
    CHECK(between.a.Count(Counter::kSessionsOpen) == 3);
  }
  SUBCASE("none: the donor is dead") {
    between.recipient.ours.Reset();
    Eventually([&] { return between.b.Count(Counter::kSessionsTaken) == 3; });
    between.Accept();
    Eventually([&] { return between.a.Count(Counter::kSessionsOpen) == 0; });
    between.Alive();
  }
  SUBCASE("neither, and the recipient ends") {
    between.b.engine.Close();
    CHECK(between.b.Count(Counter::kSessionsTaken) == 0);
    between.donor.ours.Reset();
    between.prepare.fds.clear();
    between.Alive();
  }
}

TEST_CASE("handoff receipt: a donor that is not understood goes on, and says why") {
  Between between;
  uint8_t answer[64] = {};
  SocketPair probe;
  REQUIRE(SendAnswer(probe.ours.get(), {between.prepare.id}) == 0);
  REQUIRE(recv(probe.theirs.get(), answer, sizeof answer, 0) == 48);
  answer[4] = 3;  // two versions on
  REQUIRE(send(between.donor.ours.get(), answer, 48, 0) == 48);
  Prepare word;
  Refusal refusal;
  Eventually([&] { return ReceivePrepare(between.donor.ours.get(), &word, &refusal) == 0; });
  CHECK(word.taken_back);
  between.Alive();
  CHECK(between.a.Count(Counter::kSessionsOpen) == 3);
  CHECK(std::string(between.a.engine.HandoffRefusal()) ==
        "the new worker does not know this version of the handoff");
}
