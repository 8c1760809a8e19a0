// SPDX-License-Identifier: MIT
// What masters say to the keeper, in any order and with any descriptors, while they come, die and
// are told of signals: there is one master that serves, one candidate at most, what is held stays
// within what was put, and no descriptor is left open. Steps of (what, length, bytes); processes
// are not started.
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "../native/socket-pair.h"
#include "descriptors.h"
#include "keeper/keeper.h"

// A process that is not there: no kernel has so large a number. Signals to it go nowhere.
extern "C" pid_t fork() {
  static pid_t next = 1 << 26;
  return next++;
}

namespace ironsocket {

class KeeperUnderTest {
 public:
  KeeperUnderTest() : log_(open("/dev/null", O_WRONLY | O_CLOEXEC)) {
    keeper_.notifier_.emplace(std::deque<std::string>());
    Master& master = masters().emplace_back();
    master.command = {"/no/such/master"};
    Require(StartMaster(&master).ok());
  }

  void Step(uint8_t what, std::string_view text) {
    Master& master = *std::next(masters().begin(), what % 4 % masters().size());
    // Complaints are many.
    if (Master* serving = keeper_.Find(Role::kServing)) {
      serving->held["log"] = UniqueFd(fcntl(log_.get(), F_DUPFD_CLOEXEC, 3));
    }
    switch (what / 4 % 8) {
      case 6:
        if (master.pid != -1) {
          keeper_.OnMasterEnd(&master, text.empty() ? SIGKILL : (text[0] & 3) << 8);
        }
        break;
      case 7: {
        static constexpr int kSignals[] = {SIGHUP, SIGTERM, SIGUSR1, SIGUSR2};
        keeper_.OnSignal(kSignals[text.size() % 4], 1);
        break;
      }
      default:
        Say(&master, text, what / 4 % 8);
    }
    Check();
  }

  bool over() const { return keeper_.state_.masters.empty(); }

 private:
  std::list<Master>& masters() { return keeper_.state_.masters; }

  // With so many descriptors; what it is told is thrown away.
  void Say(Master* master, std::string_view text, size_t fds) {
    SocketPair pair;
    master->channel.emplace(std::move(pair.ours));
    const std::vector<int> all(fds < 3 ? fds : 0, 0);
    if (text.empty()) return;
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    Require(Post(pair.theirs.get(), {bytes, text.size()}, all));
    keeper_.ReadMessages(master);
  }

  void Check() {
    const auto count = [&](Role role) {
      return std::count_if(masters().begin(), masters().end(),
                           [&](const Master& master) { return master.role == role; });
    };
    Require(count(Role::kServing) <= 1 && count(Role::kCandidate) <= 1);
    // Only a service that ends has none.
    Require(count(Role::kServing) == 1 || keeper_.state_.exit_code || keeper_.state_.leave_at);
    for (const Master& master : masters()) Require(!master.command.empty());
  }

  UniqueFd log_;
  Keeper keeper_;
};

}  // namespace ironsocket

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size > 2'000) return 0;
  const int before = NextFd();
  {
    ironsocket::KeeperUnderTest keeper;
    while (size >= 2 && !keeper.over()) {
      const size_t length = std::min<size_t>(bytes[1], size - 2);
      keeper.Step(bytes[0], {reinterpret_cast<const char*>(bytes) + 2, length});
      bytes += 2 + length;
      size -= 2 + length;
    }
  }
  Require(NextFd() == before);
  return 0;
}
