// SPDX-License-Identifier: MIT
// Logs that are full, stuck, closed or gone: the threads that log are never held up, and every lost
// line is counted.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

#include "log-output.h"
#include "log/log.h"

using namespace ironsocket;
using Clock = std::chrono::steady_clock;

namespace {

int64_t MsSince(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
}

double CpuSeconds() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

void Send(Log& log, int lines, std::string_view event = "test") {
  for (int i = 0; i < lines; i++) LogLine(log, Level::kInfo, event).Add("i", i).Send();
}

// Ends with the process at SIGXFSZ's default action, were it not blocked on the log thread.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &old_);
    rlimit limit{bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &old_); }

 private:
  rlimit old_;
};

}  // namespace

TEST_CASE("log fault: without a thread every line counts as dropped") {
  // No machine has room for a stack of this size.
  pthread_attr_t before, huge;
  REQUIRE(pthread_getattr_default_np(&before) == 0);
  REQUIRE(pthread_attr_init(&huge) == 0);
  REQUIRE(pthread_attr_setstacksize(&huge, size_t{1} << 47) == 0);
  int64_t fastest = INT64_MAX;
  for (int i = 0; i < 5; i++) {
    REQUIRE(pthread_setattr_default_np(&huge) == 0);
    auto log =
        std::make_unique<Log>(UniqueFd(memfd_create("log", MFD_CLOEXEC)), Level::kInfo, "worker");
    REQUIRE(pthread_setattr_default_np(&before) == 0);
    Send(*log, 3);
    CHECK(log->dropped() == 3);
    CHECK(log->written() == 0);
    const auto start = Clock::now();
    log.reset();
    fastest = std::min(fastest, MsSince(start));
  }
  CHECK(fastest < 150);  // the exit has nobody to wait for
  pthread_attr_destroy(&huge);
  pthread_attr_destroy(&before);
}

TEST_CASE("log fault: a full disk drops, counts and does not spin") {
  Log log(UniqueFd(open("/dev/full", O_WRONLY | O_APPEND | O_CLOEXEC)), Level::kInfo, "worker");
  Send(log, 10);
  REQUIRE(Eventually([&] { return log.dropped() > 0; }));
  CHECK(log.written() == 0);
  auto start = Clock::now();
  double cpu = CpuSeconds();
  for (int i = 0; i < 30; i++) {
    Send(log, 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(CpuSeconds() - cpu < 0.15 * static_cast<double>(MsSince(start)) / 1000);
  // As soon as there is room, the log says what was lost.
  UniqueFd file(memfd_create("log", MFD_CLOEXEC));
  log.Reopen(UniqueFd(dup(file.get())));
  Send(log, 1, "after");
  REQUIRE(Eventually([&] { return log.written() + log.dropped() == 41; }));
  CHECK(log.written() > 0);
  CHECK(log.dropped() <= 10);  // only the first write: what came later has waited
  CHECK(Count(Lines(file.get())).told == log.dropped());
  CHECK(Count(Lines(file.get())).lines == log.written());
}

TEST_CASE("log fault: on a disk that stays full the queue fills and the rest is counted") {
  UniqueFd file(memfd_create("log", MFD_CLOEXEC));
  constexpr int kLines = 20'000;
  Log log(UniqueFd(open("/dev/full", O_WRONLY | O_APPEND | O_CLOEXEC)), Level::kInfo, "worker");
  Send(log, kLines);
  CHECK(log.dropped() > kLines / 4);
  CHECK(log.written() == 0);
  log.Reopen(UniqueFd(dup(file.get())));
  REQUIRE(Eventually([&] { return log.written() + log.dropped() == kLines; }));
  REQUIRE(Eventually([&] { return Count(Lines(file.get())).told == log.dropped(); }));
  CHECK(Count(Lines(file.get())).lines == log.written());
}

TEST_CASE("log fault: a pipe that nobody reads holds nobody up") {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  UniqueFd reader(ends[0]), writer(ends[1]);
  int flags = fcntl(writer.get(), F_GETFL);
  constexpr int kLines = 50'000;  // several times what pipe and queue hold
  auto start = Clock::now();
  std::string text;
  {
    Log log(UniqueFd(dup(writer.get())), Level::kInfo, "worker");
    Send(log, kLines);
    CHECK(MsSince(start) < 5'000);
    CHECK(log.dropped() > 0);
    CHECK(log.written() < kLines);
    CHECK(fcntl(writer.get(), F_GETFL) == flags);
    double cpu = CpuSeconds();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    CHECK(CpuSeconds() - cpu < 0.05);
    // The reader comes back: everything that was queued arrives, and the count of what was not.
    while (log.written() + log.dropped() < kLines) text += Drain(reader.get());
    text += Drain(reader.get());
    Tally tally = Count(SplitLines(text));
    CHECK(tally.lines == log.written());
    CHECK(tally.told == log.dropped());
    CHECK(tally.notes >= 1);
  }
}

TEST_CASE("log fault: the exit waits 200 ms for a stuck pipe, not more") {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  UniqueFd reader(ends[0]), writer(ends[1]);
  auto log = std::make_unique<Log>(UniqueFd(dup(writer.get())), Level::kInfo, "worker");
  Send(*log, 2'000);
  auto start = Clock::now();
  log.reset();
  CHECK(MsSince(start) >= 100);
  CHECK(MsSince(start) < 3'000);  // a busy machine may take its time to end the thread
  // All of what arrived are whole lines: a write of PIPE_BUF or less is atomic.
  for (const std::string& line : SplitLines(Drain(reader.get()))) REQUIRE(logfmt::Parse(line));
}

TEST_CASE("log fault: an exit waits for what can be written, and only so long") {
  size_t most = 0;
  // The reader has to come to its turn in these 200 ms, which a busy machine may not grant at once.
  for (int i = 0; i < 10 && most < 2'000; i++) {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    UniqueFd reader(ends[0]);
    std::string text;
    std::thread slow;
    {
      Log log(UniqueFd(ends[1]), Level::kInfo, "worker");
      Send(log, 2'000);
      slow = std::thread([&] { text = Drain(reader.get()); });
    }
    slow.join();
    most = std::max(most, SplitLines(text).size());
  }
  CHECK(most == 2'000);
}

TEST_CASE("log fault: a pipe without a reader gives no signal and no spin") {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  ::close(ends[0]);
  auto old = signal(SIGPIPE, SIG_DFL);
  {
    Log log(UniqueFd(ends[1]), Level::kInfo, "worker");
    Send(log, 5);
    CHECK(Eventually([&] { return log.dropped() > 0; }));
    double cpu = CpuSeconds();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    CHECK(CpuSeconds() - cpu < 0.05);
  }
  signal(SIGPIPE, old);
}

TEST_CASE("log fault: a socket that is closed gives no signal; a stuck one holds nobody up") {
  auto old = signal(SIGPIPE, SIG_DFL);
  for (int type : {SOCK_STREAM, SOCK_DGRAM}) {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
    UniqueFd reader(ends[0]);
    Log log(UniqueFd(ends[1]), Level::kInfo, "worker");
    Send(log, 20'000);
    CHECK(log.dropped() > 0);
    double cpu = CpuSeconds();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    CHECK(CpuSeconds() - cpu < 0.05);
    std::string text;
    while (log.written() + log.dropped() < 20'000) text += Drain(reader.get());
    text += Drain(reader.get());
    CHECK(Count(SplitLines(text)).told == log.dropped());
    for (const std::string& line : SplitLines(text)) REQUIRE(logfmt::Parse(line));
    reader.Reset();
    uint64_t before = log.dropped();
    Send(log, 1);  // the queue is empty: only the closed socket can lose it
    CHECK(Eventually([&] { return log.dropped() > before; }));
  }
  signal(SIGPIPE, old);
}

TEST_CASE("log fault: lines of several processes on one socket that is read slowly stay whole") {
  // As the journal has it: one stream for all processes of a service.
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  UniqueFd reader(ends[0]), writer(ends[1]);
  constexpr int kProcesses = 16, kLines = 4'000;
  std::string text;
  {
    std::vector<std::unique_ptr<Log>> logs;
    std::vector<std::thread> senders;
    for (int i = 0; i < kProcesses; i++) {
      logs.push_back(std::make_unique<Log>(UniqueFd(dup(writer.get())), Level::kInfo, "worker"));
      senders.emplace_back([&log = *logs.back()] { Send(log, kLines); });
    }
    for (std::thread& sender : senders) sender.join();
    const auto left = [&] {
      uint64_t done = 0;
      for (const auto& log : logs) done += log->written() + log->dropped();
      return done < kProcesses * kLines;
    };
    while (left()) text += Drain(reader.get());
  }
  text += Drain(reader.get());
  for (const std::string& line : SplitLines(text)) REQUIRE(logfmt::Parse(line));
}

TEST_CASE("log fault: half a line is never glued to the next") {
  char path[] = "/tmp/ironsocket-log-XXXXXX";
  UniqueFd file(mkostemp(path, O_APPEND | O_CLOEXEC));
  REQUIRE(file.valid());
  unlink(path);
  {
    Log log(UniqueFd(dup(file.get())), Level::kInfo, "worker");
    Send(log, 1, "whole");
    REQUIRE(Eventually([&] { return log.written() == 1; }));
    size_t first = Contents(file.get()).size();
    {
      // write(2) gives a short count up to the limit, then EFBIG: what a disk does that becomes
      // full.
      FileSizeLimit limit(first + 40);
      Send(log, 1, "half");
      REQUIRE(Eventually([&] { return log.dropped() == 1; }));
      REQUIRE(Contents(file.get()).size() == first + 40);
    }
    Send(log, 1, "next");
    REQUIRE(Eventually([&] { return log.written() == 2; }));
  }
  std::vector<std::string> lines = Lines(file.get());
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].find("event=whole") != std::string::npos);
  CHECK(lines[1].size() == 40);
  CHECK(lines[2].find("event=log_dropped count=1") != std::string::npos);
  CHECK(lines[3].find("event=next") != std::string::npos);
  for (int whole : {0, 2, 3}) CHECK(logfmt::Parse(lines[whole]));
}

TEST_CASE("log fault: a descriptor that is none, or is read-only, drops and counts") {
  for (int fd : {-1, open("/dev/null", O_RDONLY | O_CLOEXEC)}) {
    Log log{UniqueFd(fd), Level::kInfo, "worker"};
    Send(log, 3);
    CHECK(Eventually([&] { return log.dropped() > 0; }));
    CHECK(log.written() == 0);
  }
}

TEST_CASE("log fault: Reopen frees a log from a stuck pipe or socket") {
  for (bool socket : {false, true}) {
    CAPTURE(socket);
    int ends[2];
    REQUIRE((socket ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)
                    : pipe2(ends, O_CLOEXEC)) == 0);
    UniqueFd reader(ends[0]), file(memfd_create("log", MFD_CLOEXEC));
    int small = 1;  // the least the kernel allows: less than one write of ours
    if (socket) setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    Log log(UniqueFd(ends[1]), Level::kInfo, "worker");
    Send(log, 4'000);
    REQUIRE(Eventually([&] { return log.written() > 0; }));
    log.Reopen(UniqueFd(dup(file.get())));
    REQUIRE(Eventually([&] { return log.written() + log.dropped() == 4'000; }));
    REQUIRE(Eventually([&] { return Count(Lines(file.get())).told == log.dropped(); }));
    std::vector<std::string> first = SplitLines(Drain(reader.get()));
    // A socket may have taken a part of a line: that one is counted as dropped.
    if (!first.empty() && first.back().ends_with(" (no newline)")) first.pop_back();
    CHECK(Count(first).lines + Count(Lines(file.get())).lines == log.written());
  }
}

TEST_CASE("log fault: lines of processes that share a pipe never mix") {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  UniqueFd reader(ends[0]), writer(ends[1]);
  std::string text;
  uint64_t written = 0;
  {
    Log one(UniqueFd(dup(writer.get())), Level::kInfo, "worker");
    Log two(UniqueFd(dup(writer.get())), Level::kInfo, "master");
    auto settled = [](const Log& log) { return log.written() + log.dropped() == 4'000; };
    for (int i = 0; i < 4'000; i++) {
      Send(one, 1, "one");
      Send(two, 1, "two");
    }
    while (!settled(one) || !settled(two)) {
      char bytes[3000];  // not a whole page at a time: the pipe is nearly always full
      pollfd ready{reader.get(), POLLIN, 0};
      if (poll(&ready, 1, 1) == 0) continue;  // all was read before the last lines were counted
      ssize_t length = read(reader.get(), bytes, sizeof(bytes));
      REQUIRE(length > 0);
      text.append(bytes, static_cast<size_t>(length));
    }
    written = one.written() + two.written();
  }
  text += Drain(reader.get());
  CHECK(Count(SplitLines(text)).lines == written);
}

TEST_CASE("log fault: the log thread takes no signal of the process") {
  UniqueFd file(memfd_create("log", MFD_CLOEXEC));
  static std::atomic<pid_t> taker;
  taker = 0;
  struct sigaction action {
  }, old;
  action.sa_handler = [](int) { taker = gettid(); };
  sigaction(SIGUSR2, &action, &old);
  {
    Log log(UniqueFd(dup(file.get())), Level::kInfo, "worker");
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR2);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    kill(getpid(), SIGUSR2);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK(taker == 0);  // blocked here, and nobody else may take it
    sigprocmask(SIG_UNBLOCK, &signals, nullptr);
    CHECK(Eventually([] { return taker == gettid(); }));
  }
  sigaction(SIGUSR2, &old, nullptr);
}
