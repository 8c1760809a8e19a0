// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <unistd.h>

#include "control/memfd.h"
#include "keeper/keeper.h"

namespace ironsocket {
namespace {

constexpr char kTitle[] = "ironsocket: keeper";

}  // namespace

// The keeper of the master that serves now takes our place, as soon as nothing waits to be sent:
// messages do not travel.
void Keeper::BecomeNext() {
  Master* serving = Find(Role::kServing);
  for (const Master& master : state_.masters) {
    if (master.channel && (master.channel->waiting() || master.introduction)) return;
  }
  becomes_next_ = false;
  if (serving == nullptr || serving->keeper.empty()) return;
  Status status = Execute(serving->keeper);
  const std::string reason = Describe(status);
  Complain("error", {{"error_msg", "the keeper stays as it is"},
                     {"error_desc", reason},
                     {"file", serving->keeper}});
  for (Master& master : state_.masters) Tell(&master, "keeper kept " + reason);
}

// Signals stay blocked over it, and those that wait go on waiting (execve(2)). Returns on failure.
Status Keeper::Execute(const std::string& program) {
  UniqueFd snapshot;
  state_.notices = notifier_->waiting();
  Status status = TextToMemfd("ironsocket-keeper", EncodeSnapshot(state_), &snapshot);
  if (!status.ok()) return status;
  auto mark = [&](int flags) {
    ::fcntl(snapshot.get(), F_SETFD, flags);
    EachDescriptor(state_, [&](int fd) { ::fcntl(fd, F_SETFD, flags); });
  };
  std::string title = kTitle, option = "--resume", number = std::to_string(snapshot.get());
  char* arguments[] = {title.data(), option.data(), number.data(), nullptr};
  mark(0);
  ::execv(program.c_str(), arguments);
  status = Status::FromErrno("execve");
  mark(FD_CLOEXEC);
  return status;
}

}  // namespace ironsocket
