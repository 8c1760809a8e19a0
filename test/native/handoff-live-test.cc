// SPDX-License-Identifier: MIT
// Sessions between two engines in one process, with real clients and backends.
#include <doctest/doctest.h>
#include <poll.h>

#include <atomic>
#include <thread>

#include "handoff/batch.h"
#include "live-engine.h"
#include "socket-pair.h"

using namespace ironsocket;

namespace {

constexpr int kVersions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

// From now on the sessions of one engine go to the other.
void BeginMove(LiveEngine& from, LiveEngine& to) {
  std::vector<UniqueFd> give, take;
  for (size_t i = 0; i < from.engine.relay_threads(); ++i) {
    SocketPair pair;
    give.push_back(std::move(pair.ours));
    take.push_back(std::move(pair.theirs));
  }
  to.engine.TakeSessions(std::move(take));
  from.engine.GiveSessions(std::move(give));
}

// Until they are all there.
void Move(LiveEngine& from, LiveEngine& to, uint64_t sessions = 1) {
  BeginMove(from, to);
  Eventually([&] {
    return to.Count(Counter::kSessionsOpen) == sessions && from.Count(Counter::kSessionsOpen) == 0;
  });
}

}  // namespace

TEST_CASE("handoff: idle sessions go to another engine and carry on, and back again") {
  for (int version : kVersions) {
    CAPTURE(version);
    LiveEngine a({1, 2, 0}), b({1, 1, 0});
    a.Configure();
    std::vector<std::unique_ptr<LiveSession>> sessions;
    for (int i = 0; i < 150; ++i) sessions.push_back(std::make_unique<LiveSession>(a, version));
    LiveEngine* from = &a;
    LiveEngine* to = &b;
    for (int round = 0; round < 4; ++round) {
      Move(*from, *to, sessions.size());
      CHECK(to->Count(Counter::kSessionsOpen) == sessions.size());
      for (auto& session : sessions) {
        REQUIRE(session->client.Write({'x', 'y'}));
        REQUIRE(Receive(session->backend.get(), 2) == Bytes{'x', 'y'});
        SendAll(session->backend.get(), {'z'});
        REQUIRE(session->client.Read(1) == Bytes{'z'});
      }
      std::swap(from, to);
    }
    // Four moves away from the first engine and back: they end where they are, in order.
    for (auto& session : sessions) {
      session->backend.Reset();
      CHECK(session->client.End() == "close_notify");
      SSL_shutdown(session->client.ssl());
      session->client.Close(false);
    }
    CHECK(from->Reason() == "closed");
    const PauseSummary pauses = b.engine.HandoffPauses();
    CHECK(pauses.longest_us > 0);
    CHECK(pauses.p99_us <= pauses.longest_us);
    MESSAGE("longest pause " << pauses.longest_us << " us, p99 " << pauses.p99_us << " us");
  }
}

TEST_CASE("handoff: an engine that has told that it is drained takes no session") {
  LiveEngine a, b;
  a.Configure();
  LiveSession session(a, TLS1_3_VERSION);
  b.Configure();
  b.engine.StopAccepting();
  REQUIRE(b.Events(LiveEngine::Type::kDrained) == 1);
  BeginMove(a, b);
  CHECK(Eventually([&] { return a.Count(Counter::kSessionsStaying) == 1; }));
  CHECK(b.Count(Counter::kSessionsTaken) == 0);
  CHECK(b.Count(Counter::kConnectionsOpen) == 0);
  CHECK(b.Events(LiveEngine::Type::kDrained) == 1);
  REQUIRE(session.client.Write({'x'}));
  CHECK(Receive(session.backend.get(), 1) == Bytes{'x'});
}

TEST_CASE("handoff: streams both ways keep every byte over many moves") {
  for (int version : kVersions) {
    CAPTURE(version);
    LiveEngine a, b;
    a.Configure();
    LiveSession session(a, version);
    const Bytes upload = Pattern(24'000'000), answer = Pattern(24'000'000, 2);
    std::atomic<bool> done{false};
    Bytes uploaded, answered;
    std::thread reader([&] { uploaded = Receive(session.backend.get(), upload.size()); });
    std::thread writer([&] { SendAll(session.backend.get(), answer); });
    // OpenSSL's object is one thread's: it writes a piece, then reads one.
    std::thread client([&] {
      for (size_t at = 0; at < upload.size(); at += 60'000) {
        REQUIRE(session.client.Write(Bytes(upload.begin() + static_cast<ptrdiff_t>(at),
                                           upload.begin() + static_cast<ptrdiff_t>(at + 60'000))));
        const Bytes part = session.client.Read(60'000);
        answered.insert(answered.end(), part.begin(), part.end());
      }
      done = true;
    });
    LiveEngine* from = &a;
    LiveEngine* to = &b;
    int moves = 0;
    while (!done) {
      Move(*from, *to);
      std::swap(from, to);
      ++moves;
    }
    client.join();
    reader.join();
    writer.join();
    CHECK(uploaded == upload);
    CHECK(answered == answer);
    CHECK(moves > 3);
    MESSAGE(moves << " moves");
    session.backend.Reset();
    CHECK(session.client.End() == "close_notify");
    session.client.Close(false);
  }
}

TEST_CASE("handoff: half-closed sessions and unread bytes move too") {
  for (int version : kVersions) {
    CAPTURE(version);
    LiveEngine a, b;
    a.Configure();
    LiveSession session(a, version);
    // The backend does not read, the client does not either: both legs are full.
    const Bytes upload = Pattern(200'000), answer = Pattern(3'000'000, 3);
    REQUIRE(session.client.Write(upload));
    SSL_shutdown(session.client.ssl());
    std::thread writer([&] {
      SendAll(session.backend.get(), answer);
      shutdown(session.backend.get(), SHUT_WR);
    });
    Move(a, b);
    Move(b, a);
    CHECK(Receive(session.backend.get(), upload.size()) == upload);
    CHECK(EndOf(session.backend.get()) == 0);
    Move(a, b);
    CHECK(session.client.Read(answer.size()) == answer);
    writer.join();
    CHECK(session.client.End() == "close_notify");
    session.client.Close(false);
    CHECK(b.Reason() == "closed");
  }
}

TEST_CASE("handoff: a recipient that goes away, or never answers, costs no session") {
  LiveEngine a;
  a.Configure();
  std::vector<std::unique_ptr<LiveSession>> sessions;
  for (int i = 0; i < 20; ++i) sessions.push_back(std::make_unique<LiveSession>(a));
  const auto alive = [&] {
    for (auto& session : sessions) {
      REQUIRE(session->client.Write({'x'}));
      REQUIRE(Receive(session->backend.get(), 1) == Bytes{'x'});
      SendAll(session->backend.get(), {'z'});
      REQUIRE(session->client.Read(1) == Bytes{'z'});
    }
  };
  SUBCASE("closed at once") {
    SocketPair pair;
    pair.theirs.Reset();
    a.engine.GiveSessions(Only(std::move(pair.ours)));
  }
  SUBCASE("closed with the batch unread") {
    SocketPair pair;
    a.engine.GiveSessions(Only(std::move(pair.ours)));
    REQUIRE(SendAnswer(pair.theirs.get(), {}) == 0);
    pollfd ready{pair.theirs.get(), POLLIN, 0};
    REQUIRE(poll(&ready, 1, 10'000) == 1);
  }
  SUBCASE("read and never answered") {
    SocketPair pair(SOCK_SEQPACKET);
    fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK);
    a.engine.GiveSessions(Only(std::move(pair.ours)));
    const int end = pair.theirs.get();
    REQUIRE(SendAnswer(end, {}) == 0);
    uint8_t byte[64];
    REQUIRE(recv(end, byte, sizeof byte, 0) > 0);  // the descriptors are dropped
    // After the donor's patience comes its last word, and an answer comes too late.
    REQUIRE(recv(end, byte, sizeof byte, 0) > 0);
    CHECK(byte[6] == 3);
    REQUIRE(recv(end, byte, sizeof byte, 0) == 0);
  }
  alive();
  CHECK(a.Count(Counter::kSessionsOpen) == sessions.size());
  CHECK(a.Count(Counter::kSessionsGiven) == 0);
}

TEST_CASE("handoff: a session that still waits for its backend moves, and waits on there") {
  // A queue of one, which is taken: the next connection gets no answer.
  const Port full;
  REQUIRE(listen(full.fd.get(), 0) == 0);
  const UniqueFd first = full.Connect();
  REQUIRE(first.valid());
  LiveEngine a, b;
  a.plan.listeners[0].backend_addresses = {full.text()};
  SUBCASE("and is connected") {
    a.Configure();
    LiveClient client(a.front, TLS1_3_VERSION);
    REQUIRE(client.connected);
    REQUIRE(client.Write({'e', 'a', 'r', 'l', 'y'}));
    Eventually([&] { return a.Count(Counter::kSessionsOpen) == 1; });
    Move(a, b);
    const UniqueFd taken = full.Accept();
    const UniqueFd backend = full.Accept();  // its SYN comes again
    CHECK(Receive(backend.get(), 5) == Bytes{'e', 'a', 'r', 'l', 'y'});
    SendAll(backend.get(), {'z'});
    CHECK(client.Read(1) == Bytes{'z'});
  }
  SUBCASE("until its time is over; the listener is told by name") {
    a.plan.listeners[0].connect_ms = 2'000;
    a.Configure();
    LiveClient client(a.front, TLS1_3_VERSION);
    REQUIRE(client.connected);
    Eventually([&] { return a.Count(Counter::kSessionsOpen) == 1; });
    Move(a, b);
    CHECK(client.End() == "alert 80");
    client.Close(false);
    CHECK(b.Reason() == "connect_timeout");
    REQUIRE(b.Events(LiveEngine::Type::kBackendFailed) == 1);
    CHECK(b.events[0].listener == "web");
    CHECK(a.Events(LiveEngine::Type::kBackendFailed) == 0);
  }
}

TEST_CASE("handoff: sessions are served until the recipient listens") {
  LiveEngine a, b;
  a.Configure();
  LiveSession session(a);
  SocketPair pair;
  a.engine.GiveSessions(Only(std::move(pair.ours)));
  for (int i = 0; i < 20; ++i) {
    REQUIRE(session.client.Write({'x'}));
    REQUIRE(Receive(session.backend.get(), 1) == Bytes{'x'});
    SendAll(session.backend.get(), {'z'});
    REQUIRE(session.client.Read(1) == Bytes{'z'});
  }
  CHECK(a.Count(Counter::kSessionsGiven) == 0);
  b.engine.TakeSessions(Only(std::move(pair.theirs)));
  Eventually([&] { return b.Count(Counter::kSessionsTaken) == 1; });
}

TEST_CASE("handoff: a session that comes while the pair is open goes as well") {
  LiveEngine a, b;
  a.Configure();
  SocketPair pair;
  b.engine.TakeSessions(Only(std::move(pair.theirs)));
  a.engine.GiveSessions(Only(std::move(pair.ours)));
  for (int i = 0; i < 10; ++i) {
    LiveSession session(a);
    Eventually([&] { return b.Count(Counter::kSessionsTaken) == static_cast<uint64_t>(i) + 1; });
    REQUIRE(session.client.Write({'x'}));
    REQUIRE(Receive(session.backend.get(), 1) == Bytes{'x'});
  }
}
