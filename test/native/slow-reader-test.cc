// SPDX-License-Identifier: MIT
// Timeouts and clients with a small window: one that reads slowly but steadily gets the whole
// answer however long it takes, one that reads nothing is ended all the same. Everything runs side
// by side, because it has to take longer than the timeouts.
#include <doctest/doctest.h>
#include <poll.h>

#include "live-engine.h"

using namespace ironsocket;
using Clock = std::chrono::steady_clock;

namespace {

constexpr size_t kAnswer = 1'500'000;
constexpr size_t kSmall = 500'000;       // the sockets hold it
constexpr size_t kEndless = 64'000'000;  // and not this
constexpr uint32_t kTimeoutMs = 2'000;   // of the timeout that a case is about
constexpr uint32_t kLingerMs = 5'000;    // for a client to close
constexpr uint32_t kLookMs = 5'000;      // at most, for a second look at the queues
constexpr uint32_t kSlackMs = 4'000;     // of a machine with other things to do

enum class Case {
  kClosedByClient,   // close_notify first, then the answer and the backend's FIN
  kClosedByBackend,  // the answer and FIN; the client has not ended
  kIdle,             // the answer; neither has ended
};
constexpr Case kCases[] = {Case::kClosedByClient, Case::kClosedByBackend, Case::kIdle};

std::string NameOf(Case which) {
  return which == Case::kClosedByClient    ? "closed by the client"
         : which == Case::kClosedByBackend ? "closed by the backend"
                                           : "idle";
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void CheckBetween(double seconds, uint32_t from_ms, uint32_t to_ms) {
  CHECK(seconds * 1000 > from_ms - 100);
  CHECK(seconds * 1000 < to_ms + kSlackMs);
}

// A write to a broken connection, OpenSSL's alert, must fail the test and not end it.
void BlockPipeSignal() {
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
}

// A session of its own engine and what becomes of it; the checks are left to the test's thread.
struct Run {
  const Case which;
  LiveEngine live;
  std::unique_ptr<LiveSession> session;
  std::thread thread;
  bool whole = false;
  std::string end;
  int tcp_end = -1;
  double seconds = 0;
  double backend_seconds = 0;

  Run(Case which, int version) : which(which) {
    ListenerPlan& listener = live.plan.listeners[0];
    listener.idle_ms = which == Case::kIdle ? kTimeoutMs : 0;
    listener.half_closed_ms = which == Case::kClosedByBackend ? kTimeoutMs : 60'000;
    live.Configure();
    session = std::make_unique<LiveSession>(live, version);
    const int small = 16'384;
    setsockopt(session->client.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (which == Case::kClosedByClient) {
      SSL_shutdown(session->client.ssl());
      REQUIRE(EndOf(session->backend.get()) == 0);
    }
  }
  ~Run() {
    if (thread.joinable()) thread.join();
  }

  // Ends with an error where the session has been ended.
  void Answer(const Bytes& bytes, bool fin) {
    const int fd = session->backend.get();
    for (size_t sent = 0; sent < bytes.size();) {
      const ssize_t part = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (part < 0) return;
      sent += static_cast<size_t>(part);
    }
    if (fin) shutdown(fd, SHUT_WR);
  }

  // 150 kB/s, and pauses of 100 ms: far less than a timeout.
  void ReadSlowly() {
    BlockPipeSignal();
    const auto start = Clock::now();
    const Bytes answer = Pattern(kAnswer);
    std::thread sender([&] { Answer(answer, which != Case::kIdle); });
    Bytes got;
    for (Bytes part; (part = session->client.Read(15'000)).size() > 0;) {
      got.insert(got.end(), part.begin(), part.end());
      if (got.size() >= kAnswer) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    sender.join();
    seconds = SecondsSince(start);
    whole = got == answer;
    if (which == Case::kIdle) shutdown(session->backend.get(), SHUT_WR);
    end = session->client.End();
    tcp_end = EndOf(session->client.fd());
  }

  // Until the engine has let go of both sides.
  void ReadNothing() {
    const auto start = Clock::now();
    std::thread sender([&] {
      Answer(Bytes(which == Case::kIdle ? kEndless : kSmall), which != Case::kIdle);
      pollfd hangup{session->backend.get(), 0, 0};
      poll(&hangup, 1, 30'000);
      backend_seconds = SecondsSince(start);
    });
    while (live.Count(Counter::kConnectionsOpen) > 0 && SecondsSince(start) < 30) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    seconds = SecondsSince(start);
    sender.join();
  }
};

std::vector<std::unique_ptr<Run>> StartAll(void (Run::*act)()) {
  std::vector<std::unique_ptr<Run>> runs;
  for (Case which : kCases) {
    for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
      runs.push_back(std::make_unique<Run>(which, version));
    }
  }
  for (auto& run : runs) run->thread = std::thread(act, run.get());
  return runs;
}

}  // namespace

TEST_CASE("slow reader: timeouts spare a client that reads, and end one that does not") {
  const auto slow = StartAll(&Run::ReadSlowly), stuck = StartAll(&Run::ReadNothing);
  for (const auto& run : slow) {
    run->thread.join();
    CAPTURE(NameOf(run->which));
    CAPTURE(run->seconds);
    CHECK(run->whole);
    CHECK(run->end == "close_notify");
    CHECK(run->tcp_end == 0);
    CHECK(run->seconds > (kLingerMs + kTimeoutMs) / 1000);  // else it proves nothing
  }
  for (const auto& run : stuck) {
    run->thread.join();
    CAPTURE(NameOf(run->which));
    const std::string reason = run->live.Reason();
    switch (run->which) {
      case Case::kClosedByClient:  // the backend's part was over at once
        CHECK(reason == "closed");
        CheckBetween(run->seconds, kLingerMs, kLingerMs + kLookMs);
        break;
      case Case::kClosedByBackend:  // then the client still has its time to close
        CHECK(reason == "half_closed_timeout");
        CheckBetween(run->backend_seconds, kTimeoutMs, kTimeoutMs + kLookMs);
        CheckBetween(run->seconds, kTimeoutMs, kTimeoutMs + kLookMs + kLingerMs + kLookMs);
        break;
      case Case::kIdle:
        CHECK(reason == "idle_timeout");
        CheckBetween(run->backend_seconds, kTimeoutMs, kTimeoutMs + kLookMs);
        CheckBetween(run->seconds, kTimeoutMs, kTimeoutMs + kLookMs);
        break;
    }
  }
}
