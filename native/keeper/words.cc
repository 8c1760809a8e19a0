// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "keeper/keeper.h"

namespace ironsocket {

void Keeper::Tell(Master* master, const std::string& message) {
  if (!master->channel) return;
  if (master->introduction) return master->introduction->later.push_back(message);
  ComplainOfMaster(master->channel->Send(message));
}

void Keeper::TellWhatWaits() {
  for (Master& master : state_.masters) {
    if (!master.channel) continue;
    ComplainOfMaster(master.channel->Flush());
    if (master.introduction) GoOnIntroducing(&master);
  }
}

// As far as there is room: so nothing of it waits in the channel, where it would need descriptors.
void Keeper::GoOnIntroducing(Master* master) {
  auto& [names, later] = *master->introduction;
  for (; !names.empty(); names.pop_front()) {
    const auto held = master->held.find(names.front());
    if (held == master->held.end()) continue;
    const int fd = held->second.get();
    const Status status = master->channel->TrySend("have " + names.front(), {&fd, 1});
    if (status.error == EAGAIN) return;
    if (status.ok()) continue;
    // Without it the master would serve with less than there is.
    ComplainOfMaster(status);
    if (master->pid != -1) ::kill(master->pid, SIGKILL);
    master->channel.reset();
    return;
  }
  const std::vector<std::string> words = std::move(later);
  master->introduction.reset();
  for (const std::string& word : words) Tell(master, word);
}

void Keeper::ComplainOfMaster(const Status& status) {
  if (status.ok()) return;
  Complain("error",
           {{"error_msg", "the master does not take messages"}, {"error_desc", Describe(status)}});
}

void Keeper::Notify(std::string lines) {
  notifier_->Send(std::move(lines));
  ComplainOfManager();
}

void Keeper::ComplainOfManager() {
  const std::optional<Status> failure = notifier_->TakeFailure();
  if (!failure) return;
  Complain("warn", {{"error_msg", "the service manager can't be told how the service fares"},
                    {"error_desc", Describe(*failure)}});
}

void Keeper::Complain(std::string_view level, std::initializer_list<LogField> fields) {
  Say(LogFd(), level, "system_error", fields);
}

int Keeper::LogFd() {
  for (const Master& master : state_.masters) {
    const auto log = master.held.find("log");
    if (master.role == Role::kServing && log != master.held.end()) return log->second.get();
  }
  return STDERR_FILENO;
}

}  // namespace ironsocket
