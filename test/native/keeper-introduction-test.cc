// SPDX-License-Identifier: MIT
// A master is told what is held for it, all of it and in order, however much it is and however
// slowly it reads.
// Without ThreadSanitizer: a keeper has one thread.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "failing-calls.h"
#include "keeper/keeper.h"
#include "loop/clock.h"
#include "socket-pair.h"

namespace ironsocket {

// One master, which is the test itself; no process is started.
class KeeperUnderTest {
 public:
  explicit KeeperUnderTest(int held) {
    rlimit files{};
    REQUIRE(getrlimit(RLIMIT_NOFILE, &files) == 0);
    files.rlim_cur = files.rlim_max;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &files) == 0);
    keeper_.state_.masters.emplace_back();
    SocketPair pair;
    master().channel.emplace(std::move(pair.ours));
    theirs_.emplace(std::move(pair.theirs));
    const UniqueFd file(eventfd(0, EFD_CLOEXEC));
    for (int i = 0; i < held; i++) {
      UniqueFd fd(fcntl(file.get(), F_DUPFD_CLOEXEC, 3));
      REQUIRE(fd.valid());
      master().held["listener:" + std::to_string(i)] = std::move(fd);
    }
  }

  Master& master() { return keeper_.state_.masters.front(); }
  const Channel& channel() { return *master().channel; }
  void Introduce() { keeper_.Introduce(&master()); }
  void Tell(const std::string& message) { keeper_.Tell(&master(), message); }
  void TellWhatWaits() { keeper_.TellWhatWaits(); }

  // What there is to read now: the words of each message, and how many descriptors came.
  std::vector<std::string> Read() {
    std::vector<std::string> messages;
    std::string message;
    std::vector<UniqueFd> fds;
    while (theirs_->Receive(&message, &fds) == Channel::Received::kMessage) {
      messages.push_back(message + (fds.size() == 1 ? " +fd" : ""));
    }
    return messages;
  }

  // All that is told until nothing is left to tell.
  std::vector<std::string> ReadAll() {
    std::vector<std::string> messages;
    for (const int64_t until = NowMs() + 10'000; NowMs() < until;) {
      const std::vector<std::string> some = Read();
      messages.insert(messages.end(), some.begin(), some.end());
      if (some.empty() && !channel().waits_for_room() && !channel().retry_at()) break;
      TellWhatWaits();
    }
    return messages;
  }

  // What ReadAll() is to give.
  std::vector<std::string> Whole(const std::vector<std::string>& later) {
    std::vector<std::string> messages{"hello 1 1 0 serving"};
    for (const auto& [name, fd] : master().held) messages.push_back("have " + name + " +fd");
    messages.push_back("go");
    messages.insert(messages.end(), later.begin(), later.end());
    return messages;
  }

 private:
  Keeper keeper_;
  std::optional<Channel> theirs_;
};

}  // namespace ironsocket

using namespace ironsocket;

TEST_CASE("keeper: a master is told of more than a channel takes, without a descriptor for it") {
  KeeperUnderTest keeper(6'000);
  rlimit limit{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const UniqueFd next(fcntl(0, F_DUPFD_CLOEXEC, 3));
  const rlimit none{static_cast<rlim_t>(next.get()), limit.rlim_max};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
  keeper.Introduce();
  keeper.Tell("exited 17 0");
  keeper.TellWhatWaits();
  REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(keeper.channel().waits_for_room());
  CHECK_FALSE(keeper.channel().waiting());
  keeper.Tell("exited 18 0");
  CHECK(keeper.ReadAll() == keeper.Whole({"exited 17 0", "exited 18 0"}));
  CHECK_FALSE(keeper.channel().waits_for_room());
}

TEST_CASE("keeper: a shortage in the middle of an introduction costs no word of it") {
  for (const int error : {ENOBUFS, ETOOMANYREFS}) {
    CAPTURE(error);
    KeeperUnderTest keeper(1'000);
    keeper.Introduce();
    REQUIRE(keeper.channel().waits_for_room());
    std::vector<std::string> all = keeper.Read();
    FailingCalls failing(FailingCall::kSendmsg, error, 2);
    for (int i = 0; i < 2; i++) {
      keeper.TellWhatWaits();
      CHECK(keeper.channel().retry_at());
      CHECK(keeper.Read().empty());
    }
    CHECK(failing.left() == 0);
    const std::vector<std::string> rest = keeper.ReadAll();
    all.insert(all.end(), rest.begin(), rest.end());
    CHECK(all == keeper.Whole({}));
  }
}

TEST_CASE("keeper: what is dropped meanwhile is not told, nor waited for") {
  KeeperUnderTest keeper(1'000);
  keeper.Introduce();
  const std::vector<std::string> before = keeper.Read();
  REQUIRE(keeper.channel().waits_for_room());
  keeper.master().held.clear();
  keeper.TellWhatWaits();
  CHECK(keeper.Read() == std::vector<std::string>{"go"});
  CHECK_FALSE(keeper.channel().waits_for_room());
}

TEST_CASE("keeper: a master that can't be told all never hears `go`") {
  KeeperUnderTest keeper(2);
  keeper.master().held["listener:1" + std::string(Channel::kMaxMessage, 'x')] = UniqueFd();
  keeper.Introduce();
  CHECK_FALSE(keeper.master().channel);
  CHECK(keeper.Read() == std::vector<std::string>{"hello 1 1 0 serving", "have listener:0 +fd",
                                                  "have listener:1 +fd"});
}
