// SPDX-License-Identifier: MIT
// The channel when a message can't go at once: the socket is full, or the machine short of
// something.
// Without ThreadSanitizer: nor is failing-calls.h there. Where there are two threads each has a
// channel of its own.
#include "control/channel.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <string>
#include <thread>

#include "failing-calls.h"
#include "loop/clock.h"
#include "socket-pair.h"

using namespace ironsocket;

namespace {

struct TwoChannels {
  explicit TwoChannels(SocketPair pair = SocketPair())
      : ours(std::move(pair.ours)), theirs(std::move(pair.theirs)) {}

  // What comes next; empty: nothing.
  std::string Next() {
    std::string message;
    const Channel::Received received = theirs.Receive(&message, &fds);
    return received == Channel::Received::kMessage ? message : "";
  }

  Channel ours, theirs;
  std::vector<UniqueFd> fds;  // of the last message
};

ino_t FileOf(int fd) {
  struct stat status {};
  REQUIRE(fstat(fd, &status) == 0);
  return status.st_ino;
}

}  // namespace

TEST_CASE("channel: what meets a shortage waits, and comes in order and with its descriptors") {
  const UniqueFd file(memfd_create("test", MFD_CLOEXEC));
  const int fd = file.get();
  for (const int error : {ENOBUFS, ENOMEM, ETOOMANYREFS}) {
    CAPTURE(error);
    TwoChannels pair;
    FailingCalls failing(FailingCall::kSendmsg, error, 2);
    CHECK(pair.ours.Send("one", {&fd, 1}).ok());
    REQUIRE(pair.ours.retry_at());
    CHECK_FALSE(pair.ours.waits_for_room());
    CHECK(*pair.ours.retry_at() > NowMs() - 1'000);
    CHECK(*pair.ours.retry_at() < NowMs() + 1'000);
    CHECK(pair.ours.Send("two").ok());
    CHECK(failing.left() == 1);  // it has not gone past the first
    CHECK(pair.ours.Flush().ok());
    CHECK(pair.ours.retry_at());
    CHECK(pair.Next() == "");
    CHECK(pair.ours.Flush().ok());
    CHECK_FALSE(pair.ours.waiting());
    CHECK_FALSE(pair.ours.retry_at());
    CHECK(pair.Next() == "one");
    REQUIRE(pair.fds.size() == 1);
    CHECK(FileOf(pair.fds[0].get()) == FileOf(fd));
    CHECK(pair.Next() == "two");
    CHECK(pair.fds.empty());
  }
}

TEST_CASE("channel: only so many wait, and what can't wait is said") {
  TwoChannels pair;
  FailingCalls failing(FailingCall::kSendmsg, ENOBUFS, 1);
  for (size_t i = 0; i < Channel::kMaxQueued; i++) REQUIRE(pair.ours.Send("more").ok());
  CHECK(pair.ours.Send("too much").error == ENOBUFS);
  pair.ours.Close();
  CHECK_FALSE(pair.ours.retry_at());
}

TEST_CASE("channel: what finds no descriptors to wait with is said, and does not wait") {
  TwoChannels pair;
  FailingCalls failing(FailingCall::kSendmsg, ENOBUFS, 1);
  const int fd = pair.theirs.fd();
  rlimit limit{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const UniqueFd next(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  REQUIRE(next.get() > 3);
  const rlimit none{static_cast<rlim_t>(next.get()), limit.rlim_max};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  const Status status = pair.ours.Send("without a copy", {&fd, 1});
  REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(status.error == EMFILE);
  CHECK_FALSE(pair.ours.waiting());
  CHECK_FALSE(pair.ours.retry_at());
}

TEST_CASE("channel: a full socket is waited for, not tried again") {
  TwoChannels pair;
  while (!pair.ours.waiting()) REQUIRE(pair.ours.Send(std::string(1'000, 'x')).ok());
  CHECK(pair.ours.waits_for_room());
  CHECK_FALSE(pair.ours.retry_at());
}

TEST_CASE("channel: at the end what waits for a shortage gets its chance") {
  TwoChannels pair;
  FailingCalls failing(FailingCall::kSendmsg, ENOBUFS, 3);
  REQUIRE(pair.ours.Send("last words").ok());
  pair.ours.Finish(NowMs() + 10'000);
  CHECK(pair.Next() == "last words");
}

TEST_CASE("channel: at the end what waits for a reader gets its chance") {
  TwoChannels pair;
  int sent = 0;
  for (; !pair.ours.waiting(); sent++) REQUIRE(pair.ours.Send(std::string(1'000, 'x')).ok());
  int got = 0;
  std::thread reader([&] {
    for (const int64_t until = NowMs() + 10'000; got < sent && NowMs() < until;) {
      got += pair.Next().empty() ? 0 : 1;
    }
  });
  pair.ours.Finish(NowMs() + 10'000);
  reader.join();
  CHECK(got == sent);
}

TEST_CASE("channel: the end waits no longer than it may") {
  TwoChannels pair;
  FailingCalls failing(FailingCall::kSendmsg, ENOBUFS, 1'000'000);
  REQUIRE(pair.ours.Send("nobody hears it").ok());
  const int64_t start = NowMs();
  pair.ours.Finish(start + 40);
  CHECK(NowMs() >= start + 40);
  CHECK(NowMs() < start + 5'000);
  CHECK(failing.left() > 1'000'000 - 50);  // it did not spin
  CHECK(pair.ours.waiting());
}
