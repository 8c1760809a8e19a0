// SPDX-License-Identifier: MIT
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "keeper/keeper.h"
#include "loop/clock.h"

namespace ironsocket {
namespace {

// Milliseconds.
constexpr int64_t kShortLife = 1'000;  // a master that lived less waits before its next start
constexpr int64_t kFirstDelay = 100;   // doubled every time, up to
constexpr int64_t kLongestDelay = 5'000;
constexpr int64_t kReapLimit = 5'000;  // for killed children, one of which may hang in the kernel

std::string ReasonOf(int status) {
  return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                             : "exit code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

void Keeper::OnMasterEnd(Master* master, int status) {
  // Its number may be another process's from now on.
  const pid_t pid = std::exchange(master->pid, -1);
  // What it sent last may still wait to be read, `exit` above all.
  ReadMessages(master);
  master->channel.reset();
  master->ready = false;
  const std::string reason = ReasonOf(status);
  if (master->role == Role::kCandidate) {
    ::kill(-pid, SIGKILL);  // its group: a worker that it had no time to put here
    return RemoveCandidate(master, reason);
  }
  if (master->role == Role::kServing) EndCandidate("the serving master died");
  if (master->end_by || state_.leave_at) return Remove(master);
  if (master->ever_ready) return ScheduleStart(master, reason);
  if (WIFSIGNALED(status)) {
    Complain("fatal", {{"error_msg", "the master died during start"},
                       {"error_desc", reason},
                       {"master_pid", std::to_string(pid)}});
  }
  // Its own code says why it did not start; 0 would say that it did.
  Leave(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : kExitInternal, 0);
}

void Keeper::ScheduleStart(Master* master, const std::string& reason) {
  bool short_life = NowMs() - master->started_at < kShortLife;
  int64_t& delay = master->delay;
  delay = !short_life ? 0 : delay == 0 ? kFirstDelay : std::min(delay * 2, kLongestDelay);
  master->start_at = NowMs() + delay;
  Complain("error", {{"error_msg", "the master died and is started again"},
                     {"error_desc", reason},
                     {"role", std::string(NameOf(master->role))},
                     {"delay_ms", std::to_string(delay)}});
  if (master->role != Role::kServing || state_.terminations > 0) return;
  Notify("STATUS=the master died and is started again: " + reason);
}

void Keeper::Remove(const Master* master) {
  state_.masters.remove_if([&](const Master& each) { return &each == master; });
}

void Keeper::Leave(int code, int64_t limit) {
  if (!state_.exit_code) state_.exit_code = code;
  state_.leave_at = NowMs() + limit;
}

// Nothing of ours may go on without a keeper.
void Keeper::KillAndReapAll() {
  for (const Master& master : state_.masters) KillMaster(master);
  state_.masters.clear();  // a worker that nobody put here ends when its channel does
  int64_t until = NowMs() + kReapLimit;
  while (NowMs() < until) {
    pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
    if (pid < 0 && errno == ECHILD) return;
    if (pid > 0) continue;
    pollfd fds{signals_.get(), POLLIN, 0};
    ::poll(&fds, 1, static_cast<int>(until - NowMs()));
    signalfd_siginfo ignored;
    while (::read(signals_.get(), &ignored, sizeof(ignored)) > 0) continue;
  }
}

}  // namespace ironsocket
