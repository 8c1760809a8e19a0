// SPDX-License-Identifier: MIT
#include "keeper/master.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "keeper/notifier.h"
#include "keeper/say.h"
#include "loop/clock.h"

namespace ironsocket {
namespace {

constexpr int kChannelFd = 3;

[[noreturn]] void BecomeMaster(const Master& master, int channel_fd) {
  ::setsid();
  // dup2() clears close-on-exec, but does nothing when the numbers are equal.
  if (channel_fd == kChannelFd) {
    ::fcntl(kChannelFd, F_SETFD, 0);
  } else {
    ::dup2(channel_fd, kChannelFd);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const char* variable : kManagerVariables) ::unsetenv(variable);
  std::vector<char*> arguments;
  for (const std::string& word : master.command) {
    arguments.push_back(const_cast<char*>(word.c_str()));
  }
  arguments.push_back(nullptr);
  ::execv(arguments[0], arguments.data());
  const int error = errno;
  const auto log = master.held.find("log");
  // The log's number may be that of the channel now: the child says it where it certainly can.
  Say(log == master.held.end() || log->second.get() == kChannelFd ? STDERR_FILENO
                                                                  : log->second.get(),
      "fatal", "system_error",
      {{"error_msg", "can't start the master"},
       {"error_desc", std::string("execve: ") + std::strerror(error)},
       {"file", master.command[0]}});
  ::_exit(kExitSystem);
}

}  // namespace

std::string_view NameOf(Role role) {
  switch (role) {
    case Role::kServing:
      return "serving";
    case Role::kCandidate:
      return "candidate";
    case Role::kLeaving:
      return "leaving";
  }
  return "";
}

Status StartMaster(Master* master) {
  UniqueFd ours, theirs;
  master->started_at = NowMs();
  if (Status status = Channel::Pair(&ours, &theirs); !status.ok()) return status;
  const pid_t pid = ::fork();
  if (pid == 0) BecomeMaster(*master, theirs.get());
  if (pid < 0) return Status::FromErrno("fork");
  master->pid = pid;
  master->ready = false;
  master->channel.emplace(std::move(ours));
  return {};
}

void KillMaster(const Master& master) {
  // The group of workers of an earlier process is that one's, which may be gone: hence the pidfds.
  if (master.pid != -1) ::kill(-master.pid, SIGKILL);
  if (master.pid != -1) ::kill(master.pid, SIGKILL);  // it may not have got to its setsid() yet
  for (const auto& [name, fd] : master.held) {
    if (name.ends_with(":pidfd")) ::syscall(SYS_pidfd_send_signal, fd.get(), SIGKILL, nullptr, 0);
  }
}

}  // namespace ironsocket
