// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <utility>

#include "keeper/keeper.h"

namespace ironsocket {

void Keeper::Tell(Master* master, const std::string& message, std::span<const int> fds) {
  if (!master->channel) return;
  ComplainOfMaster(master->channel->Send(message, fds));
}

void Keeper::TellWhatWaits() {
  for (Master& master : state_.masters) {
    if (master.channel) ComplainOfMaster(master.channel->Flush());
  }
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
