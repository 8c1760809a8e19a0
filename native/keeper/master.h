// SPDX-License-Identifier: MIT
// A master as the keeper sees it: what it was started with, what it has put here, how it fares.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "control/channel.h"
#include "net/unique_fd.h"

namespace ironsocket {

enum class Role {
  kServing,    // one, always
  kCandidate,  // at most one: the master of an upgrade that is under way
  kLeaving,    // has served; ends with its last session
};

std::string_view NameOf(Role role);

// What a master that has been started has yet to be told before all else. It may be more than a
// channel takes before somebody reads it.
struct Introduction {
  std::deque<std::string> names;  // of what was held for it then
  std::vector<std::string> later{"go"};
};

struct Master {
  Role role = Role::kServing;
  std::string keeper;                    // program of the keeper that belongs to it
  std::vector<std::string> command;      // its own program and arguments
  std::map<std::string, UniqueFd> held;  // survives it
  std::optional<Channel> channel;
  std::optional<Introduction> introduction;  // as long as it goes on

  pid_t pid = -1;           // -1: none runs
  bool ready = false;       // the one that runs has said so
  bool ever_ready = false;  // one has: from then on a dead one is replaced
  int starts = 0;

  // Milliseconds of CLOCK_MONOTONIC.
  int64_t started_at = 0;
  int64_t start_at = 0;           // when none runs
  int64_t delay = 0;              // before the last start
  std::optional<int64_t> end_by;  // it has said `exit`

  std::vector<std::pair<int, pid_t>> waiting_signals;  // for the next one that is ready
};

// Forks and executes `master->command` with a new channel as fd 3, in a session of its own. On
// success pid, channel, ready and started_at are new.
Status StartMaster(Master* master);

// SIGKILL for the process, its group, and the workers whose pidfds it has put here.
void KillMaster(const Master& master);

}  // namespace ironsocket
