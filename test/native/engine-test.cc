// SPDX-License-Identifier: MIT
// The engine as a whole: many sessions on several threads, plans that replace each other, and the
// ways to stop.
#include "engine.h"

#include <dirent.h>
#include <doctest/doctest.h>
#include <sys/resource.h>

#include "live-engine.h"
#include "socket-pair.h"

using namespace ironsocket;

namespace {

// Sends back what comes on `count` connections, and then their ends.
void Echo(const Port& port, int count) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; i++) {
    threads.emplace_back([fd = port.Accept()] {
      Bytes part(50'000);
      ssize_t got;
      while ((got = recv(fd.get(), part.data(), part.size(), 0)) > 0) {
        SendAll(fd.get(), Bytes(part.begin(), part.begin() + got));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

size_t OpenFiles() {
  DIR* directory = opendir("/proc/self/fd");
  REQUIRE(directory != nullptr);
  size_t count = 0;
  while (readdir(directory)) count++;
  closedir(directory);
  return count - 3;  // ".", ".." and the directory's own
}

class FileLimit {
 public:
  explicit FileLimit(rlim_t files) {
    getrlimit(RLIMIT_NOFILE, &old_);
    rlimit limit{files, old_.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  }
  ~FileLimit() { setrlimit(RLIMIT_NOFILE, &old_); }

 private:
  rlimit old_;
};

// One client's life: `size` bytes up while they come down again. True when all went well.
bool Exchange(const Port& port, int version, size_t size, uint32_t seed) {
  LiveClient client(port, version);
  if (!client.connected) return false;
  const Bytes all = Pattern(size, seed);
  for (size_t at = 0; at < size;) {
    const size_t part = std::min<size_t>(1 + (at * 7 + seed) % 30'000, size - at);
    const Bytes bytes(all.begin() + static_cast<ptrdiff_t>(at),
                      all.begin() + static_cast<ptrdiff_t>(at + part));
    if (!client.Write(bytes) || client.Read(part) != bytes) return false;
    at += part;
  }
  SSL_shutdown(client.ssl());
  return client.End() == "close_notify";
}

}  // namespace

TEST_CASE("engine: sessions of two handshake and two relay threads, with KeyUpdates all the time") {
  LiveEngine live({2, 2, 5});
  live.Configure();
  constexpr int kClients = 4, kRounds = 3;
  constexpr size_t kBytes = 400'000;
  std::thread backend([&] { Echo(live.backend, kClients * kRounds); });
  std::atomic<int> good{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> clients;
  for (uint32_t i = 0; i < kClients; i++) {
    clients.emplace_back([&, i] {
      for (uint32_t round = 0; round < kRounds; round++) {
        const int version = (i + round) % 3 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
        good += Exchange(live.front, version, kBytes, i * 10 + round);
      }
    });
  }
  // What JavaScript does meanwhile.
  std::thread control([&] {
    while (!done) {
      live.Count(Counter::kBytesToClient);
      live.engine.SetBackend(7, {live.backend.text()});
      live.log.SetLevel(Level::kInfo);
      std::this_thread::yield();
    }
  });
  for (std::thread& client : clients) client.join();
  backend.join();
  done = true;
  control.join();
  CHECK(good == kClients * kRounds);
  CHECK(live.Reason() == "closed");
  CHECK(live.Count(Counter::kSessionsTotal) == kClients * kRounds);
  CHECK(live.Count(Counter::kSessionsOpen) == 0);
  CHECK(live.Count(Counter::kHandshakesOpen) == 0);
  CHECK(live.Count(Counter::kBytesFromClient) == kClients * kRounds * kBytes);
  CHECK(live.Count(Counter::kBytesToClient) == kClients * kRounds * kBytes);
  CHECK(live.Count(Counter::kKeyUpdatesSent) > 20);
  CHECK(live.Count(Counter::kKeyUpdatesReceived) > 20);
}

TEST_CASE("engine: a slow reader gets everything, and holds back its backend") {
  LiveEngine live;
  live.Configure();
  LiveSession session(live);
  const Bytes part = Pattern(100'000);
  for (int fd : {session.client.fd(), session.backend.get()}) {
    const int small = 65536;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  }
  // The kernel's buffers alone may hold tens of MiB (net.ipv4.tcp_rmem), so it sends until it is
  // held back and not a size that should do.
  constexpr size_t kMostParts = 2'000;
  std::atomic<size_t> sent{0};
  std::atomic<bool> held_back{false};
  std::thread sender([&] {
    for (; sent < kMostParts && !held_back; ++sent) SendAll(session.backend.get(), part);
    session.backend.Reset();
  });
  // Nothing is read until nothing moves any more.
  size_t last = SIZE_MAX;
  Eventually([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return std::exchange(last, sent.load()) == sent.load();
  });
  CHECK(sent < kMostParts);
  held_back = true;
  size_t got = 0;
  for (Bytes bytes; (bytes = session.client.Read(part.size())) == part;) ++got;
  CHECK(session.client.End() == "close_notify");
  sender.join();
  CHECK(got == sent);
}

TEST_CASE("engine: a slow backend gets everything, and holds back its client") {
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    LiveEngine live;
    const int small = 16384;
    setsockopt(live.backend.fd.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    live.Configure();
    LiveSession session(live, version);
    const Bytes body = Pattern(8'000'000);
    std::thread sender([&] {
      session.client.Write(body);
      SSL_shutdown(session.client.ssl());
    });
    // A client that is held back has not said that it is done.
    size_t got = 0;
    bool same = true;
    for (size_t part = 1; got < body.size() && part > 0; got += part) {
      const Bytes bytes =
          Receive(session.backend.get(), std::min<size_t>(body.size() - got, 70'000));
      part = bytes.size();
      same = same &&
             std::equal(bytes.begin(), bytes.end(), body.begin() + static_cast<ptrdiff_t>(got));
    }
    CHECK(got == body.size());
    CHECK(same);
    CHECK(EndOf(session.backend.get()) == 0);
    sender.join();
  }
}

TEST_CASE("engine: a plan is taken as a whole or not at all; sessions keep theirs") {
  LiveEngine live;
  live.Configure();
  LiveSession old(live);
  Plan bad = live.plan;
  Port other_front;
  fcntl(other_front.fd.get(), F_SETFL, O_NONBLOCK);
  bad.listeners.push_back(live.plan.listeners[0]);
  bad.listeners[0].backend_addresses = {other_front.text()};  // good, but it must not be taken
  bad.listeners[1].fd = other_front.fd.get();
  std::string error;
  bad.listeners[1].backend_addresses = {"localhost:80"};
  CHECK_FALSE(live.engine.Configure(bad, &error));
  CHECK(error == "listener web: a backend address is not numeric");
  bad.listeners[1].backend_addresses = {};
  bad.listeners[1].certificates = {{live.key.get(), live.key.get()}};
  CHECK_FALSE(live.engine.Configure(bad, &error));
  CHECK(error == "listener web: no certificate found");
  bad.listeners[1].certificates = live.plan.listeners[0].certificates;
  bad.listeners[1].fd = -1;
  CHECK_FALSE(live.engine.Configure(bad, &error));
  bad.listeners[1].fd = other_front.fd.get();
  bad.listeners[1].ciphers = {"TLS_NONE"};
  CHECK_FALSE(live.engine.Configure(bad, &error));
  CHECK(error == "listener web: unknown cipher suite TLS_NONE");
  bad.ticket_keys_fd = live.key.get();
  CHECK_FALSE(live.engine.Configure(bad, &error));
  { LiveSession session(live); }

  // Another backend and other versions, the same socket.
  Port other;
  live.plan.listeners[0].backend_addresses = {other.text()};
  live.plan.listeners[0].min_version = "1.3";
  live.Configure();
  CHECK_FALSE(LiveClient(live.front, TLS1_2_VERSION).connected);
  LiveClient client(live.front, TLS1_3_VERSION);
  REQUIRE(client.connected);
  UniqueFd accepted = other.Accept();
  CHECK(client.Write({1, 2}));
  CHECK(Receive(accepted.get(), 2) == Bytes{1, 2});
  CHECK(old.client.Write({3}));
  CHECK(Receive(old.backend.get(), 1) == Bytes{3});
}

TEST_CASE("engine: a new plan does not count the descriptors of open sessions against itself") {
  LiveEngine live;
  live.Configure();
  std::vector<std::unique_ptr<LiveSession>> sessions;
  const auto open = [&](size_t count) {
    while (sessions.size() < count) sessions.push_back(std::make_unique<LiveSession>(live));
  };
  open(12);
  // Beside the 32 that the engine keeps free, and 9 for a plan and a handoff, there is room for 12
  // sessions more, 24 in all; counted against themselves the open ones would leave none. The test's
  // own ends take two of four.
  const FileLimit limit(OpenFiles() + 32 + 9 + 24);
  live.Configure();
  live.Configure();
  open(18);
  CHECK(live.Count(Counter::kAcceptPauses) == 0);
  CHECK(live.Count(Counter::kConnectionsOpen) == 18);
}

TEST_CASE("engine: one connection over max_connections is reset, the others live on") {
  LiveEngine live;
  live.plan.max_connections = 2;
  live.Configure();
  LiveSession one(live), two(live);
  UniqueFd refused = live.front.Connect();
  CHECK(EndOf(refused.get()) == ECONNRESET);
  CHECK(live.Count(Counter::kConnectionsRefused) == 1);
  CHECK(live.Count(Counter::kConnectionsOpenMax) == 2);
  one.client.Close(true);
  Eventually([&] { return live.Count(Counter::kConnectionsOpen) == 1; });
  LiveSession three(live);
  CHECK(two.client.Write({1}));
  CHECK(Receive(two.backend.get(), 1) == Bytes{1});
}

TEST_CASE("engine: room is kept for connections that another worker is about to hand over") {
  LiveEngine from, to;
  from.Configure();
  LiveSession one(from), two(from);
  to.plan.max_connections = 3;
  to.plan.expected_connections = 3;
  to.Configure();
  to.plan.expected_connections = 0;
  const auto refused = [&] { return EndOf(to.front.Connect().get()) == ECONNRESET; };
  CHECK(refused());
  to.Configure();  // as a reload meanwhile
  CHECK(refused());

  SocketPair pair;
  to.engine.TakeSessions(Only(std::move(pair.theirs)));
  CHECK(refused());
  from.engine.GiveSessions(Only(std::move(pair.ours)));
  Eventually([&] { return to.Count(Counter::kSessionsOpen) == 2; });
  CHECK(refused());  // the third may still be in its handshake there
  from.engine.Close();
  Eventually([&] { return to.Count(Counter::kHandoffsOpen) == 0; });
  LiveSession three(to);
  CHECK(to.Count(Counter::kConnectionsOpen) == 3);
  CHECK(refused());
  one.client.Close(true);
  Eventually([&] { return to.Count(Counter::kConnectionsOpen) == 2; });
  LiveSession four(to);
}

TEST_CASE("engine: a handshake that takes too long is ended and counted") {
  LiveEngine live;
  live.plan.listeners[0].handshake_ms = 1'000;
  live.Configure();
  UniqueFd silent = live.front.Connect(), slow = live.front.Connect();
  SendAll(slow.get(), FromHex("1603010200010001fc0303"));
  CHECK(EndOf(silent.get()) == 0);
  CHECK(EndOf(slow.get()) == 0);
  CHECK(live.Count(Counter::kHandshakesTimedOut) == 2);
  CHECK(live.Count(Counter::kSessionsTotal) == 0);
}

TEST_CASE("engine: bytes that are no handshake get an alert") {
  LiveEngine live;
  live.Configure();
  UniqueFd client = live.front.Connect();
  SendAll(client.get(), FromHex("1703010001ff"));
  const Bytes alert = Receive(client.get(), 100);
  REQUIRE(alert.size() == 7);
  CHECK(alert[0] == 21);
  CHECK(live.Count(Counter::kHandshakesFailed) == 1);
}

TEST_CASE("engine: the PROXY header comes before the first byte") {
  LiveEngine live;
  live.plan.listeners[0].proxy_protocol = ProxyProtocol::kV1;
  live.Configure();
  LiveClient client(live.front, TLS1_3_VERSION);
  REQUIRE(client.connected);
  REQUIRE(client.Write({'!'}));
  sockaddr_in local{};
  socklen_t length = sizeof local;
  getsockname(client.fd(), reinterpret_cast<sockaddr*>(&local), &length);
  const std::string expected = "PROXY TCP4 127.0.0.1 127.0.0.1 " +
                               std::to_string(ntohs(local.sin_port)) + " " +
                               std::to_string(ntohs(live.front.address.sin_port)) + "\r\n!";
  UniqueFd backend = live.backend.Accept();
  const Bytes got = Receive(backend.get(), expected.size());
  CHECK(std::string(got.begin(), got.end()) == expected);
}

TEST_CASE("engine: a client's max_fragment_length bounds every record it gets") {
  LiveEngine live;
  live.Configure();
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    LiveClient client(live.front, version, TLSEXT_max_fragment_length_512);
    REQUIRE(client.connected);
    UniqueFd backend = live.backend.Accept();
    SendAll(backend.get(), Pattern(20'000));
    CHECK(client.Read(20'000) == Pattern(20'000));  // OpenSSL refuses a longer record
  }
}

TEST_CASE("engine: StopAccepting takes who waits, leaves the rest alone, and tells the last end") {
  LiveEngine live;
  live.Configure();
  LiveSession session(live);
  UniqueFd waiting = live.front.Connect();
  live.engine.StopAccepting();
  CHECK(live.Events(LiveEngine::Type::kDrained) == 0);
  CHECK(live.Count(Counter::kConnectionsAccepted) == 2);
  UniqueFd late = live.front.Connect();  // the test still holds the socket
  CHECK(session.client.Write({1}));
  CHECK(Receive(session.backend.get(), 1) == Bytes{1});
  waiting.Reset();
  session.client.Close(true);
  CHECK(Eventually([&] { return live.Events(LiveEngine::Type::kDrained) == 1; }));
  CHECK(live.Count(Counter::kConnectionsAccepted) == 2);
}

TEST_CASE("engine: StopAccepting without a connection is drained at once") {
  LiveEngine live;
  live.Configure();
  live.engine.StopAccepting();
  CHECK(live.Events(LiveEngine::Type::kDrained) == 1);
}

TEST_CASE("engine: EndSessions sends an alert to clients and resets backends") {
  LiveEngine live({2, 2, 0});
  live.Configure();
  std::vector<std::unique_ptr<LiveSession>> sessions;
  for (int i = 0; i < 6; i++) {
    sessions.push_back(
        std::make_unique<LiveSession>(live, i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION));
  }
  UniqueFd half_way = live.front.Connect();
  live.engine.StopAccepting();
  live.engine.EndSessions();
  for (auto& session : sessions) {
    CHECK(session->client.End() == "alert 80");
    CHECK(EndOf(session->backend.get()) == ECONNRESET);
    session->client.Close(false);
  }
  CHECK(EndOf(half_way.get()) == 0);
  CHECK(Eventually([&] { return live.Events(LiveEngine::Type::kDrained) == 1; }));
  CHECK(live.Reason() == "drained");
}

TEST_CASE("engine: Close resets what lives, and is the end") {
  LiveEngine live({2, 2, 0});
  live.Configure();
  LiveSession one(live), two(live, TLS1_2_VERSION);
  live.engine.Close();
  for (LiveSession* session : {&one, &two}) {
    CHECK(session->client.End() == "reset");
    CHECK(EndOf(session->backend.get()) == ECONNRESET);
  }
  live.engine.Close();
  live.engine.StopAccepting();
  live.engine.EndSessions();
  std::string error;
  CHECK_FALSE(live.engine.Configure(live.plan, &error));
  CHECK(error == "the engine is closed");
}
