// SPDX-License-Identifier: MIT
// What a keeper tells the keeper that it becomes by execve(2): text, in which descriptors stand by
// number, because they stay open. One field after the other, each ended by a zero byte:
//
//   ironsocket-keeper VERSION                first
//   generation NUMBER
//   terminations NUMBER
//   exit CODE                                the service is ending with it; may be missing
//   leave NUMBER                             when at the latest; may be missing
//   notice TEXT                              for the service manager, not sent yet; any number
//   master ROLE PID READY EVER_READY STARTS STARTED_AT START_AT DELAY END_BY    END_BY -1: none
//     keeper PATH                            these belong to the master before them
//     word TEXT                              of its command, in their order
//     channel FD                             missing: none runs
//     held FD NAME
//     signal NUMBER PID                      waiting
//
// Fields of other names are skipped, so that a later version can add some without a new number.
#pragma once

#include <deque>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keeper/master.h"

namespace ironsocket {

inline constexpr int kSnapshotVersion = 1;

struct Snapshot {
  int generation = 1;
  int terminations = 0;
  std::optional<int> exit_code;
  std::optional<int64_t> leave_at;
  std::deque<std::string> notices;
  std::list<Master> masters;
};

// Descriptors are borrowed.
std::string EncodeSnapshot(const Snapshot& snapshot);

// Takes every descriptor that is named. False: not a snapshot that this version understands; what
// was read before that is in `*out`.
bool DecodeSnapshot(std::string_view text, Snapshot* out);

// Calls `visit` with every descriptor of `snapshot`: those that have to stay open over the execve.
template <typename Visit>
void EachDescriptor(const Snapshot& snapshot, Visit visit) {
  for (const Master& master : snapshot.masters) {
    if (master.channel) visit(master.channel->fd());
    for (const auto& [name, fd] : master.held) visit(fd.get());
  }
}

}  // namespace ironsocket
