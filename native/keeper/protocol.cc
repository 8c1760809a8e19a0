// SPDX-License-Identifier: MIT
#include <algorithm>
#include <csignal>
#include <utility>

#include "keeper/keeper.h"
#include "keeper/number.h"
#include "loop/clock.h"

namespace ironsocket {
namespace {

// Milliseconds: after a drain's limit, before the manager kills us.
constexpr int64_t kDrainReserve = 10'000;

}  // namespace

void Keeper::ReadMessages(Master* master) {
  std::string message;
  std::vector<UniqueFd> fds;
  while (master->channel) {
    switch (master->channel->Receive(&message, &fds)) {
      case Channel::Received::kMessage:
        OnMessage(master, message, std::move(fds));
        break;
      case Channel::Received::kFdsLost:
        Complain("error", {{"error_msg", "a descriptor was lost: file limit reached"},
                           {"message", message}});
        break;
      case Channel::Received::kClosed:
        // A master without its channel can't be told anything any more.
        master->channel.reset();
        if (master->pid != -1) ::kill(master->pid, SIGKILL);
        return;
      case Channel::Received::kNothing:
        return;
    }
  }
}

void Keeper::OnMessage(Master* master, const std::string& message, std::vector<UniqueFd> fds) {
  std::string word = message.substr(0, message.find(' '));
  std::string argument = message.substr(std::min(message.size(), word.size() + 1));
  const bool serving = master->role == Role::kServing;
  if (word == "put" && fds.size() == 1) {
    master->held[argument] = std::move(fds[0]);
  } else if (word == "drop") {
    master->held.erase(argument);
  } else if (word == "ready") {
    master->ready = master->ever_ready = true;
    for (const auto& [signal, sender] : std::exchange(master->waiting_signals, {})) {
      Deliver(master, signal, sender);
    }
    Master* other = Find(Role::kServing);
    if (master->role == Role::kCandidate && other != nullptr) Tell(other, "candidate-ready");
  } else if (word == "exit") {
    OnExit(master, ToNumber(argument, kExitInternal));
  } else if (word == "state") {
    OnState(*master, argument);
  } else if (word == "candidate" && serving) {
    AddCandidate(master, argument, std::move(fds));
  } else if (word == "commit" && serving) {
    Commit(master);
  } else if (word == "abort" && serving) {
    EndCandidate("the upgrade was given up");
  } else {
    Complain("error", {{"error_msg", "unknown message from the master"}, {"message", message}});
  }
}

void Keeper::OnExit(Master* master, int code) {
  master->end_by = NowMs() + kLeaveLimit;
  if (master->role == Role::kServing && !state_.exit_code) state_.exit_code = code;
}

void Keeper::OnState(const Master& master, const std::string& state) {
  // One that leaves has been told so, but may not have read it yet.
  if (master.role != Role::kServing) return;
  const std::string line = state.substr(0, state.find('\n'));
  const std::string word = line.substr(0, line.find(' '));
  const std::string text = line.substr(std::min(line.size(), word.size() + 1));
  if (word == "draining") {
    const int64_t limit = ToNumber(text, 0) + kDrainReserve;
    return Notify("EXTEND_TIMEOUT_USEC=" + std::to_string(limit * 1000) +
                  "\nSTATUS=stopping, sessions have " + text + " ms to end");
  }
  if (state_.terminations > 0) return;
  if (word == "serving") Notify(Ready() + "\nSTATUS=" + text);
  if (word == "reloading") Notify(ReloadingNow() + "\nSTATUS=" + text);
}

}  // namespace ironsocket
