// SPDX-License-Identifier: MIT
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "keeper/keeper.h"

namespace ironsocket {

void Keeper::OnSignal(int signal, pid_t sender) {
  if (signal == SIGCHLD) return Reap();
  if (signal == SIGTERM || signal == SIGINT) return OnTermination(signal, sender);
  for (Master& master : state_.masters) {
    // Every master writes to the log that USR1 is about.
    if (master.role == Role::kServing || signal == SIGUSR1) Deliver(&master, signal, sender);
  }
}

void Keeper::OnTermination(int signal, pid_t sender) {
  state_.terminations += 1;
  if (state_.terminations == 1) Notify("STOPPING=1\nSTATUS=stopping");
  EndCandidate("the service was told to end");
  Master* serving = Find(Role::kServing);
  if (serving != nullptr && !serving->ever_ready) return Leave(0, 0);  // nobody is served yet
  for (Master& master : state_.masters) {
    if (master.role == Role::kCandidate) continue;
    // Without a master sessions live on: the next one drains them.
    if (master.ready || state_.terminations == 1) Deliver(&master, signal, sender);
  }
  if (state_.terminations > 1) Leave(0, kLeaveLimit);
}

void Keeper::Deliver(Master* master, int signal, pid_t sender) {
  if (master->ready) {
    return Tell(master, "signal " + std::to_string(signal) + " " + std::to_string(sender));
  }
  auto& waiting = master->waiting_signals;
  auto same = [&](const auto& other) { return other.first == signal; };
  if (std::none_of(waiting.begin(), waiting.end(), same)) waiting.emplace_back(signal, sender);
}

void Keeper::Reap() {
  int status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    auto master = std::find_if(state_.masters.begin(), state_.masters.end(),
                               [&](const Master& each) { return each.pid == pid; });
    if (master != state_.masters.end()) {
      OnMasterEnd(&*master, status);
      continue;
    }
    for (Master& each : state_.masters) {
      Tell(&each, "exited " + std::to_string(pid) + " " + std::to_string(status));
    }
  }
}

}  // namespace ironsocket
