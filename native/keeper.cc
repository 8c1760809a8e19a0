// SPDX-License-Identifier: MIT
// The keeper: the process whose PID never changes. It holds descriptors by name (listening sockets,
// the log, the channels and pidfds of workers, certificates, the master's state) so that they
// outlive a master, starts and restarts the master, passes signals on, and reaps. It reads no
// configuration, no file and no network byte; one thread, no Node.
//
//   keeper PROGRAM ARGUMENT...       PROGRAM is started with its arguments as the master; its fd 3
//                                    is the channel
//   keeper --resume FD               goes on where another keeper was: FD holds its snapshot
//   keeper --knows VERSION           exits with 0 if it could resume a snapshot of that version
//
// Messages on a channel are one line of text each, with at most one descriptor:
//   to a master       hello 1 GENERATION START ROLE   first; START counts the masters started for
//                                   this one's place, from 0; a candidate has the next GENERATION
//                     have NAME     with its descriptor, for everything that is held for it;
//                     then `go`     signal NUMBER PID          PID: who sent it, 0 for the kernel
//                     exited PID STATUS                a child was reaped (wait(2) status)
//                     role ROLE     it has changed: serving or leaving
//                     keeper replaced, keeper kept REASON      what became of the execve that
//                                   follows a commit
//   from a master     put NAME      with a descriptor; replaces what had the name
//                     drop NAME
//                     ready         from now on a master that dies is started again
//                     exit CODE     all is done; the serving one's CODE is the service's
//                     state serving TEXT, state reloading TEXT, state draining MILLISECONDS
//                                   how the service fares, which the service manager is told
//                                   (keeper/notifier.h); only the serving master is listened to
//
// An upgrade begins with a second master, the candidate. The serving one says
//                     candidate KEEPER\0PROGRAM\0ARGUMENT...   may come with a descriptor, which
//                                   the candidate gets as `peer`, with duplicates of all that is
//                                   held for us but `worker:*`
//                     commit        the candidate, which must have said `ready`, serves; we leave
//                     abort         the candidate is ended
// and is told         candidate PID
//                     candidate-ready
//                     candidate-ended REASON           also as the answer to a commit in vain
// A serving master that dies takes its candidate with it. After a commit the keeper becomes KEEPER
// by execve(2), with the same PID; where that fails it goes on as it is.
//
// Masters run in sessions of their own, so that Ctrl-C in a terminal reaches the keeper alone.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/memfd.h"
#include "keeper/master.h"
#include "keeper/notifier.h"
#include "keeper/say.h"
#include "keeper/snapshot.h"
#include "loop/clock.h"
#include "net/systemd_sockets.h"

namespace ironsocket {
namespace {

constexpr char kTitle[] = "ironsocket: keeper";

// Milliseconds.
constexpr int64_t kShortLife = 1'000;  // a master that lived less waits before its next start
constexpr int64_t kFirstDelay = 100;   // doubled every time, up to
constexpr int64_t kLongestDelay = 5'000;
constexpr int64_t kReadyLimit = 60'000;  // a master that has not said `ready` by then hangs
constexpr int64_t kLeaveLimit = 1'000;   // for a master, after `exit` or the second TERM
constexpr int64_t kReapLimit = 5'000;    // for killed children, one of which may hang in the kernel
constexpr int64_t kDrainReserve = 10'000;  // after a drain's limit, before the manager kills us

int ToNumber(std::string_view text, int fallback) {
  int number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : fallback;
}

std::string ReasonOf(int status) {
  return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                             : "exit code " + std::to_string(WEXITSTATUS(status));
}

class Keeper {
 public:
  void Begin(char** command);
  bool Resume(int snapshot_fd);
  // The exit code.
  int Run();

 private:
  void Prepare();

  Master* Find(Role role);
  void Start(Master* master);
  void Introduce(Master* master);
  bool Finished();
  void KillWhatHangs();
  int TimeoutMs();
  void WaitForEvents();

  void OnSignal(int signal, pid_t sender);
  void OnTermination(int signal, pid_t sender);
  void Deliver(Master* master, int signal, pid_t sender);
  void Reap();

  void ReadMessages(Master* master);
  void OnMessage(Master* master, const std::string& message, std::vector<UniqueFd> fds);
  void OnExit(Master* master, int code);
  void OnState(const Master& master, const std::string& state);

  void AddCandidate(Master* serving, std::string_view words, std::vector<UniqueFd> fds);
  void Commit(Master* serving);
  void EndCandidate(const std::string& reason);
  void RemoveCandidate(const Master* candidate, const std::string& reason);

  void OnMasterEnd(Master* master, int status);
  void ScheduleStart(Master* master, const std::string& reason);
  void Remove(const Master* master);
  void Leave(int code, int64_t limit);
  void KillAndReapAll();

  void BecomeNext();
  Status Execute(const std::string& program);

  void Tell(Master* master, const std::string& message, std::span<const int> fds = {});
  void Notify(std::string lines);
  void ComplainOfManager();
  void Complain(std::string_view level, std::initializer_list<LogField> fields);
  int LogFd();

  Snapshot state_;
  UniqueFd signals_;
  std::optional<Notifier> notifier_;
  bool becomes_next_ = false;    // after a commit
  std::string candidate_ended_;  // not empty: why the candidate is being killed
};

// ---- start

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
  std::string reason = std::string(status.syscall) + ": " + std::strerror(status.error);
  if (master->ever_ready) return ScheduleStart(master, reason);
  Complain("fatal", {{"error_msg", "can't start the master"}, {"error_desc", reason}});
  Leave(kExitSystem, 0);
}

void Keeper::Introduce(Master* master) {
  const int generation = state_.generation + (master->role == Role::kCandidate ? 1 : 0);
  Tell(master, "hello 1 " + std::to_string(generation) + " " + std::to_string(master->starts++) +
                   " " + std::string(NameOf(master->role)));
  for (const auto& [name, fd] : master->held) {
    int number = fd.get();
    Tell(master, "have " + name, {&number, 1});
  }
  Tell(master, "go");
}

Master* Keeper::Find(Role role) {
  auto found = std::find_if(state_.masters.begin(), state_.masters.end(),
                            [&](const Master& master) { return master.role == role; });
  return found == state_.masters.end() ? nullptr : &*found;
}

// ---- events

int Keeper::TimeoutMs() {
  std::optional<int64_t> until = state_.leave_at;
  auto bound = [&](int64_t limit) { until = until ? std::min(*until, limit) : limit; };
  if (notifier_->due_at()) bound(*notifier_->due_at());
  for (const Master& master : state_.masters) {
    if (master.pid == -1) bound(master.start_at);
    if (master.pid != -1 && !master.ready) bound(master.started_at + kReadyLimit);
    if (master.end_by) bound(*master.end_by);
  }
  return until ? static_cast<int>(std::max<int64_t>(0, *until - NowMs())) : -1;
}

void Keeper::WaitForEvents() {
  std::vector<pollfd> fds{{signals_.get(), POLLIN, 0}};
  for (const Master& master : state_.masters) {
    const short out = master.channel && master.channel->waiting() ? POLLOUT : 0;
    const int fd = master.channel ? master.channel->fd() : -1;
    fds.push_back({fd, static_cast<short>(POLLIN | out), 0});
  }
  if (::poll(fds.data(), fds.size(), TimeoutMs()) <= 0) return;
  size_t place = 1;
  // A candidate that is added meanwhile comes behind those that were polled.
  for (auto master = state_.masters.begin(); place < fds.size(); ++master, ++place) {
    if ((fds[place].revents & POLLOUT) && master->channel) master->channel->Flush();
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
    if (master.end_by && now >= *master.end_by) ::kill(master.pid, SIGKILL);
    if (master.ready || now - master.started_at < kReadyLimit) continue;
    Complain("error", {{"error_msg", "the master hangs"},
                       {"role", std::string(NameOf(master.role))},
                       {"master_pid", std::to_string(master.pid)}});
    ::kill(master.pid, SIGKILL);
    master.started_at = now;  // once
  }
}

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

// ---- messages

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

// ---- upgrade

void Keeper::AddCandidate(Master* serving, std::string_view words, std::vector<UniqueFd> fds) {
  if (Find(Role::kCandidate) != nullptr || state_.exit_code || state_.terminations > 0) {
    return Tell(serving, "candidate-ended there is another one, or the service ends");
  }
  Master candidate;
  candidate.role = Role::kCandidate;
  for (bool first = true; !words.empty(); first = false) {
    const size_t length = std::min(words.find('\0'), words.size());
    const std::string word(words.substr(0, length));
    words.remove_prefix(std::min(length + 1, words.size()));
    if (first) candidate.keeper = word;
    if (!first) candidate.command.push_back(word);
  }
  if (candidate.command.empty()) return Tell(serving, "candidate-ended no program was named");
  for (const auto& [name, fd] : serving->held) {
    if (name.starts_with("worker:") || name == "peer") continue;
    UniqueFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
    if (!copy.valid())
      return Tell(serving, "candidate-ended fcntl: " + std::string(strerror(errno)));
    candidate.held[name] = std::move(copy);
  }
  if (fds.size() == 1) candidate.held["peer"] = std::move(fds[0]);
  if (Status status = StartMaster(&candidate); !status.ok()) {
    return Tell(serving, "candidate-ended " + std::string(status.syscall) + ": " +
                             std::strerror(status.error));
  }
  candidate_ended_ = "";
  Tell(serving, "candidate " + std::to_string(candidate.pid));
  Introduce(&state_.masters.emplace_back(std::move(candidate)));
}

void Keeper::Commit(Master* serving) {
  Master* candidate = Find(Role::kCandidate);
  if (candidate == nullptr) return Tell(serving, "candidate-ended before the commit");
  // One that is being ended, or not ready: its end is told when it is reaped.
  if (!candidate_ended_.empty()) return;
  if (!candidate->ready) return EndCandidate("it was not ready");
  serving->role = Role::kLeaving;
  candidate->role = Role::kServing;
  state_.generation += 1;
  Tell(candidate, "role serving");
  Tell(serving, "role leaving");
  becomes_next_ = true;
}

// It is removed when it has been reaped.
void Keeper::EndCandidate(const std::string& reason) {
  Master* candidate = Find(Role::kCandidate);
  if (candidate == nullptr || !candidate_ended_.empty()) return;
  candidate_ended_ = reason;
  KillMaster(*candidate);
}

void Keeper::RemoveCandidate(const Master* candidate, const std::string& reason) {
  KillMaster(*candidate);
  const std::string why = candidate_ended_.empty() ? reason : candidate_ended_;
  Remove(candidate);
  if (Master* serving = Find(Role::kServing)) Tell(serving, "candidate-ended " + why);
}

// ---- the ends of masters, and ours

void Keeper::OnMasterEnd(Master* master, int status) {
  // What it sent last may still wait to be read, `exit` above all.
  ReadMessages(master);
  const pid_t pid = std::exchange(master->pid, -1);
  master->channel.reset();
  master->ready = false;
  const std::string reason = ReasonOf(status);
  if (master->role == Role::kCandidate) return RemoveCandidate(master, reason);
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

// ---- the next keeper

// The keeper of the master that serves now takes our place, as soon as nothing waits to be sent:
// messages do not travel.
void Keeper::BecomeNext() {
  Master* serving = Find(Role::kServing);
  for (const Master& master : state_.masters) {
    if (master.channel && master.channel->waiting()) return;
  }
  becomes_next_ = false;
  if (serving == nullptr || serving->keeper.empty()) return;
  Status status = Execute(serving->keeper);
  std::string reason = std::string(status.syscall) + ": " + std::strerror(status.error);
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

// ---- words

void Keeper::Tell(Master* master, const std::string& message, std::span<const int> fds) {
  if (!master->channel) return;
  if (Status status = master->channel->Send(message, fds); !status.ok()) {
    Complain("error", {{"error_msg", "the master does not take messages"},
                       {"error_desc", std::strerror(status.error)}});
  }
}

void Keeper::Notify(std::string lines) {
  notifier_->Send(std::move(lines));
  ComplainOfManager();
}

void Keeper::ComplainOfManager() {
  const std::optional<Status> failure = notifier_->TakeFailure();
  if (!failure) return;
  const std::string reason = std::string(failure->syscall) + ": " + std::strerror(failure->error);
  Complain("warn", {{"error_msg", "the service manager can't be told how the service fares"},
                    {"error_desc", reason}});
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

}  // namespace
}  // namespace ironsocket

int main(int argc, char** argv) {
  using namespace ironsocket;
  const std::string_view option = argc == 3 ? argv[1] : "";
  if (option == "--knows") return ToNumber(argv[2], -1) == kSnapshotVersion ? 0 : kExitUsage;
  if (argc < 2) {
    const char usage[] = "keeper: started by `ironsocket run`, not by hand\n";
    return ::write(STDERR_FILENO, usage, sizeof(usage) - 1) < 0 ? kExitSystem : kExitUsage;
  }
  Keeper keeper;
  if (option != "--resume") {
    keeper.Begin(argv + 1);
  } else if (!keeper.Resume(ToNumber(argv[2], -1))) {
    Say(STDERR_FILENO, "fatal", "system_error",
        {{"error_msg", "the keeper can't go on"}, {"error_desc", "unknown snapshot"}});
    return kExitInternal;
  }
  return keeper.Run();
}
