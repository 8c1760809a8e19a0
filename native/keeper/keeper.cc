// SPDX-License-Identifier: MIT
#include "keeper/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "control/memfd.h"
#include "loop/clock.h"
#include "net/systemd_sockets.h"

namespace ironsocket {
namespace {

// Milliseconds. A master that has not said `ready` by then hangs.
constexpr int64_t kReadyLimit = 60'000;

}  // namespace

void Keeper::Begin(char** command) {
  Master& master = state_.masters.emplace_back();
  for (auto& [name, fd] : TakeSystemdSockets()) {
    master.held["listener:systemd:" + name] = std::move(fd);
  }
  for (; *command != nullptr; ++command) master.command.emplace_back(*command);
  Prepare();
}

bool Keeper::Resume(int snapshot_fd) {
  UniqueFd snapshot(snapshot_fd);
  std::string text;
  if (!TextFromMemfd(snapshot.get(), &text).ok() || !DecodeSnapshot(text, &state_)) return false;
  EachDescriptor(state_, [](int fd) { ::fcntl(fd, F_SETFD, FD_CLOEXEC); });
  Prepare();
  LogField generation{"generation", std::to_string(state_.generation)};
  Say(LogFd(), "info", "keeper", {{"state", "replaced"}, generation});
  for (Master& master : state_.masters) Tell(&master, "keeper replaced");
  Reap();
  return true;
}

void Keeper::Prepare() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // we hold private keys
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  ::sigemptyset(&set);
  for (int signal : {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD}) {
    ::signal(signal, SIG_DFL);  // an ignored SIGCHLD would reap behind our back
    ::sigaddset(&set, signal);
  }
  ::sigprocmask(SIG_SETMASK, &set, nullptr);
  signals_.Reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  notifier_.emplace(std::exchange(state_.notices, {}));
  ComplainOfManager();
}

int Keeper::Run() {
  if (!signals_.valid()) return kExitSystem;
  while (!Finished()) {
    for (Master& master : state_.masters) {
      if (master.pid == -1 && NowMs() >= master.start_at) Start(&master);
    }
    if (becomes_next_) BecomeNext();
    if (Finished()) break;
    WaitForEvents();
    TellWhatWaits();
    KillWhatHangs();
    notifier_->Tick();
    ComplainOfManager();
  }
  KillAndReapAll();
  return *state_.exit_code;
}

bool Keeper::Finished() {
  if (!state_.exit_code) return false;
  return state_.masters.empty() || (state_.leave_at && NowMs() >= *state_.leave_at);
}

void Keeper::Start(Master* master) {
  Status status = StartMaster(master);
  if (status.ok()) return Introduce(master);
  const std::string reason = Describe(status);
  if (master->ever_ready) return ScheduleStart(master, reason);
  Complain("fatal", {{"error_msg", "can't start the master"}, {"error_desc", reason}});
  Leave(kExitSystem, 0);
}

void Keeper::Introduce(Master* master) {
  master->introduction.reset();  // of the one before it
  const int generation = state_.generation + (master->role == Role::kCandidate ? 1 : 0);
  Tell(master, "hello 1 " + std::to_string(generation) + " " + std::to_string(master->starts++) +
                   " " + std::string(NameOf(master->role)));
  Introduction& introduction = master->introduction.emplace();
  for (const auto& [name, fd] : master->held) introduction.names.push_back(name);
  GoOnIntroducing(master);
}

Master* Keeper::Find(Role role) {
  auto found = std::find_if(state_.masters.begin(), state_.masters.end(),
                            [&](const Master& master) { return master.role == role; });
  return found == state_.masters.end() ? nullptr : &*found;
}

int Keeper::TimeoutMs() {
  std::optional<int64_t> until = state_.leave_at;
  auto bound = [&](int64_t limit) { until = until ? std::min(*until, limit) : limit; };
  if (notifier_->due_at()) bound(*notifier_->due_at());
  for (const Master& master : state_.masters) {
    if (master.pid == -1) bound(master.start_at);
    if (master.pid != -1 && !master.ready) bound(master.started_at + kReadyLimit);
    if (master.end_by) bound(*master.end_by);
    if (master.channel && master.channel->retry_at()) bound(*master.channel->retry_at());
  }
  return until ? static_cast<int>(std::max<int64_t>(0, *until - NowMs())) : -1;
}

void Keeper::WaitForEvents() {
  std::vector<pollfd> fds{{signals_.get(), POLLIN, 0}};
  for (const Master& master : state_.masters) {
    const int fd = master.channel ? master.channel->fd() : -1;
    const short out = master.channel && master.channel->waits_for_room() ? POLLOUT : 0;
    fds.push_back({fd, static_cast<short>(POLLIN | out), 0});
  }
  if (::poll(fds.data(), fds.size(), TimeoutMs()) <= 0) return;
  size_t place = 1;
  // A candidate that is added meanwhile comes behind those that were polled.
  for (auto master = state_.masters.begin(); place < fds.size(); ++master, ++place) {
    if (fds[place].revents & (POLLIN | POLLHUP | POLLERR)) ReadMessages(&*master);
  }
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    OnSignal(static_cast<int>(info.ssi_signo), static_cast<pid_t>(info.ssi_pid));
  }
}

void Keeper::KillWhatHangs() {
  const int64_t now = NowMs();
  for (Master& master : state_.masters) {
    if (master.pid == -1) continue;
    if (master.end_by && now >= *master.end_by) {
      ::kill(master.pid, SIGKILL);
      master.end_by = now + kLeaveLimit;  // the kernel may need a while: no spinning until then
    }
    if (master.ready || now - master.started_at < kReadyLimit) continue;
    Complain("error", {{"error_msg", "the master hangs"},
                       {"role", std::string(NameOf(master.role))},
                       {"master_pid", std::to_string(master.pid)}});
    ::kill(master.pid, SIGKILL);
    master.started_at = now;  // once
  }
}

}  // namespace ironsocket
