// SPDX-License-Identifier: MIT
// What the jobs have in common: an epoll loop over connections, and the end of a job that failed.
#pragma once

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cpu.h"
#include "jobs.h"
#include "net/unique_fd.h"
#include "protocol.h"
#include "tls_client.h"

namespace load {

// A measurement with a hole in it is none.
[[noreturn]] inline void Fail(const char* what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

// A header and the first request behind it, in one piece.
inline std::vector<uint8_t> FirstMessage(Kind kind, uint64_t length,
                                         std::span<const uint8_t> request) {
  const Header header{kind, {}, length};
  std::vector<uint8_t> message(sizeof header + request.size());
  memcpy(message.data(), &header, sizeof header);
  if (!request.empty()) memcpy(message.data() + sizeof header, request.data(), request.size());
  return message;
}

class ClientLoop {
 public:
  ClientLoop() : context_(NewContext()), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_.valid()) Fail("no epoll");
  }

  SSL_CTX* context() const { return context_.get(); }

  // `connection` has a TlsClient `client`.
  template <typename Connection>
  void Watch(Connection* connection) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = connection;
    if (!connection->client->valid() ||
        epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection->client->fd(), &event) != 0) {
      Fail("no connection");
    }
  }

  // Calls step(Connection*) for every event until `done()`.
  template <typename Connection, typename Step, typename Done>
  void Run(Step step, Done done) {
    constexpr uint64_t kLookAgainNs = 10'000'000;
    RunTimed<Connection>(step, [done] { return done() ? 0 : kLookAgainNs; });
  }

  // The same, and calls tick() before each wait, which gives its limit in nanoseconds; 0 is the
  // end.
  template <typename Connection, typename Step, typename Tick>
  void RunTimed(Step step, Tick tick) {
    std::array<epoll_event, 128> events;
    while (const uint64_t limit_ns = tick()) {
      const timespec limit{0, static_cast<long>(std::min<uint64_t>(limit_ns, 999'999'999))};
      const int count = epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                     &limit, nullptr);
      for (int i = 0; i < count; ++i) step(static_cast<Connection*>(events[i].data.ptr));
    }
  }

 private:
  Context context_;
  ironsocket::UniqueFd epoll_;
};

inline uint64_t InSeconds(double seconds) { return NowNs() + static_cast<uint64_t>(seconds * 1e9); }

inline void PrintSpent(const CpuClock::Spent& spent, uint64_t count, uint64_t tickets = 0) {
  printf("{\"count\":%lu,\"seconds\":%.6f,\"cpuNs\":%lu,\"clientCpuNs\":%lu,\"tickets\":%lu}\n",
         count, spent.seconds, spent.theirs_ns, spent.own_ns, tickets);
}

}  // namespace load
