// SPDX-License-Identifier: MIT
// The keeper: the process whose PID never changes. It holds descriptors by name (listening sockets,
// the log, the channels and pidfds of workers, certificates, the master's state) so that they
// outlive a master, starts and restarts the master, passes signals on, and reaps. It reads no
// configuration, no file and no network byte; one thread, no Node.
//
//   keeper PROGRAM ARGUMENT...       PROGRAM is started with its arguments as the master; its fd 3
//   is the channel.
//
// Messages on the channel are one line of text each, with at most one descriptor:
//   to the master     hello 1 GENERATION START   first; START counts the masters started, from 0
//                     have NAME                  with its descriptor, for everything that is held;
//                     then `go` signal NUMBER PID          PID: who sent it, 0 for the kernel
//                     exited PID STATUS          a child was reaped (wait(2) status)
//   from the master   put NAME                   with a descriptor; replaces what had the name
//                     drop NAME
//                     ready                      from now on a master that dies is started again
//                     exit CODE                  all is done: end with CODE
//
// The master runs in a session of its own, so that Ctrl-C in a terminal reaches the keeper alone.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/channel.h"
#include "log/logfmt.h"
#include "net/systemd_sockets.h"

namespace ironsocket {
namespace {

constexpr int kChannelFd = 3;
constexpr int kExitInternal = 70;  // sysexits(3): EX_SOFTWARE
constexpr int kExitSystem = 71;    // EX_OSERR
constexpr int kGeneration = 1;     // no upgrade has taken place

// Milliseconds.
constexpr int64_t kShortLife = 1'000;  // a master that lived less waits before its next start
constexpr int64_t kFirstDelay = 100;   // doubled every time, up to
constexpr int64_t kLongestDelay = 5'000;
constexpr int64_t kReadyLimit = 60'000;  // a master that has not said `ready` by then hangs
constexpr int64_t kLeaveLimit = 1'000;   // for the master, after `exit` or the second TERM
constexpr int64_t kReapLimit = 5'000;    // for killed children, one of which may hang in the kernel

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int ToNumber(std::string_view text, int fallback) {
  int number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : fallback;
}

class Keeper {
 public:
  explicit Keeper(char** command) : command_(command) {}

  void Prepare();
  // The exit code.
  int Run();

 private:
  struct Field {
    std::string_view key;
    std::string value;
  };

  void StartMaster();
  [[noreturn]] void BecomeMaster(int channel_fd);
  void Introduce();
  void WaitForEvents();
  void OnSignal(int signal, pid_t sender);
  void OnTermination(int signal, pid_t sender);
  void Reap();
  void ReadMessages();
  void OnMessage(const std::string& message, std::vector<UniqueFd> fds);
  void OnMasterEnd(int status);
  void ScheduleStart(const std::string& reason);
  void Leave(int code, int64_t limit);
  void KillAndReapAll();
  void Tell(const std::string& message, std::span<const int> fds = {});
  void Say(std::string_view level, std::initializer_list<Field> fields);

  char** command_;
  UniqueFd signals_;
  std::map<std::string, UniqueFd> held_;

  std::optional<Channel> channel_;
  pid_t master_ = -1;        // -1: none runs
  bool ready_ = false;       // this master has said so
  bool ever_ready_ = false;  // any has: from then on the service runs, and masters are replaced
  int starts_ = 0;
  int64_t started_at_ = 0;
  int64_t start_at_ = 0;                                // when none runs
  int64_t delay_ = 0;                                   // before the last start
  int terminations_ = 0;                                // TERM and INT so far
  std::vector<std::pair<int, pid_t>> waiting_signals_;  // for the next master that is ready

  std::optional<int> exit_code_;  // set: we leave
  int64_t leave_at_ = 0;
};

// ---- start

void Keeper::Prepare() {
  for (auto& [name, fd] : TakeSystemdSockets()) held_["listener:systemd:" + name] = std::move(fd);
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
}

int Keeper::Run() {
  if (!signals_.valid()) return kExitSystem;
  while (!exit_code_ || (master_ != -1 && Now() < leave_at_)) {
    if (master_ == -1 && Now() >= start_at_) StartMaster();
    if (exit_code_ && master_ == -1) break;
    WaitForEvents();
    if (master_ != -1 && !ready_ && Now() - started_at_ >= kReadyLimit) {
      Say("error", {{"error_msg", "the master hangs"}, {"master_pid", std::to_string(master_)}});
      ::kill(master_, SIGKILL);
    }
  }
  KillAndReapAll();
  return *exit_code_;
}

void Keeper::StartMaster() {
  UniqueFd ours, theirs;
  Status status = Channel::Pair(&ours, &theirs);
  pid_t pid = status.ok() ? ::fork() : -1;
  if (pid == 0) BecomeMaster(theirs.get());
  started_at_ = Now();
  if (pid < 0) {
    if (status.ok()) status = Status::FromErrno("fork");
    std::string reason = std::string(status.syscall) + ": " + std::strerror(status.error);
    if (ever_ready_) return ScheduleStart(reason);
    Say("fatal", {{"error_msg", "can't start the master"}, {"error_desc", reason}});
    return Leave(kExitSystem, 0);
  }
  master_ = pid;
  ready_ = false;
  channel_.emplace(std::move(ours));
  Introduce();
}

void Keeper::BecomeMaster(int channel_fd) {
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
  ::execv(command_[0], command_);
  Say("fatal", {{"error_msg", "can't start the master"},
                {"error_desc", std::string("execve: ") + std::strerror(errno)},
                {"file", command_[0]}});
  ::_exit(kExitSystem);
}

void Keeper::Introduce() {
  Tell("hello 1 " + std::to_string(kGeneration) + " " + std::to_string(starts_++));
  for (const auto& [name, fd] : held_) {
    int number = fd.get();
    Tell("have " + name, {&number, 1});
  }
  Tell("go");
}

// ---- events

void Keeper::WaitForEvents() {
  int64_t until = exit_code_ ? leave_at_ : master_ == -1 ? start_at_ : started_at_ + kReadyLimit;
  bool forever = !exit_code_ && master_ != -1 && ready_;
  auto timeout = static_cast<int>(std::max<int64_t>(0, until - Now()));
  pollfd fds[2] = {{signals_.get(), POLLIN, 0}, {channel_ ? channel_->fd() : -1, POLLIN, 0}};
  if (channel_ && channel_->waiting()) fds[1].events |= POLLOUT;
  if (::poll(fds, 2, forever ? -1 : timeout) <= 0) return;
  if (fds[1].revents & POLLOUT) channel_->Flush();
  if (fds[1].revents & (POLLIN | POLLHUP | POLLERR)) ReadMessages();
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    OnSignal(static_cast<int>(info.ssi_signo), static_cast<pid_t>(info.ssi_pid));
  }
}

void Keeper::OnSignal(int signal, pid_t sender) {
  if (signal == SIGCHLD) return Reap();
  if (signal == SIGTERM || signal == SIGINT) return OnTermination(signal, sender);
  if (ready_) return Tell("signal " + std::to_string(signal) + " " + std::to_string(sender));
  auto same = [&](const auto& waiting) { return waiting.first == signal; };
  if (std::none_of(waiting_signals_.begin(), waiting_signals_.end(), same)) {
    waiting_signals_.emplace_back(signal, sender);
  }
}

void Keeper::OnTermination(int signal, pid_t sender) {
  terminations_ += 1;
  if (!ever_ready_) return Leave(0, 0);  // nobody is served yet
  if (ready_) {
    Tell("signal " + std::to_string(signal) + " " + std::to_string(sender));
  } else if (terminations_ == 1) {
    waiting_signals_.emplace_back(signal, sender);  // sessions live: the next master drains them
  }
  if (terminations_ > 1) Leave(0, kLeaveLimit);
}

void Keeper::Reap() {
  int status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid == master_) {
      OnMasterEnd(status);
    } else {
      Tell("exited " + std::to_string(pid) + " " + std::to_string(status));
    }
  }
}

void Keeper::ReadMessages() {
  std::string message;
  std::vector<UniqueFd> fds;
  while (channel_) {
    switch (channel_->Receive(&message, &fds)) {
      case Channel::Received::kMessage:
        OnMessage(message, std::move(fds));
        break;
      case Channel::Received::kFdsLost:
        Say("error",
            {{"error_msg", "a descriptor was lost: file limit reached"}, {"message", message}});
        break;
      case Channel::Received::kClosed:
        // A master without its channel can't be told anything any more.
        channel_.reset();
        if (master_ != -1) ::kill(master_, SIGKILL);
        return;
      case Channel::Received::kNothing:
        return;
    }
  }
}

void Keeper::OnMessage(const std::string& message, std::vector<UniqueFd> fds) {
  std::string word = message.substr(0, message.find(' '));
  std::string argument = message.substr(std::min(message.size(), word.size() + 1));
  if (word == "put" && fds.size() == 1) {
    held_[argument] = std::move(fds[0]);
  } else if (word == "drop") {
    held_.erase(argument);
  } else if (word == "ready") {
    ready_ = ever_ready_ = true;
    for (const auto& [signal, sender] : std::exchange(waiting_signals_, {})) {
      Tell("signal " + std::to_string(signal) + " " + std::to_string(sender));
    }
  } else if (word == "exit") {
    Leave(ToNumber(argument, kExitInternal), kLeaveLimit);
  } else {
    Say("error", {{"error_msg", "unknown message from the master"}, {"message", message}});
  }
}

// ---- the master's end, and ours

void Keeper::OnMasterEnd(int status) {
  // What it sent last may still wait to be read, `exit` above all.
  ReadMessages();
  pid_t pid = std::exchange(master_, -1);
  channel_.reset();
  ready_ = false;
  if (exit_code_) return;
  std::string reason = WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                           : "exit code " + std::to_string(WEXITSTATUS(status));
  if (ever_ready_) return ScheduleStart(reason);
  if (WIFSIGNALED(status)) {
    Say("fatal", {{"error_msg", "the master died during start"},
                  {"error_desc", reason},
                  {"master_pid", std::to_string(pid)}});
  }
  // Its own code says why it did not start; 0 would say that it did.
  Leave(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : kExitInternal, 0);
}

void Keeper::ScheduleStart(const std::string& reason) {
  bool short_life = Now() - started_at_ < kShortLife;
  delay_ = !short_life ? 0 : delay_ == 0 ? kFirstDelay : std::min(delay_ * 2, kLongestDelay);
  start_at_ = Now() + delay_;
  Say("error", {{"error_msg", "the master died and is started again"},
                {"error_desc", reason},
                {"delay_ms", std::to_string(delay_)}});
}

void Keeper::Leave(int code, int64_t limit) {
  if (!exit_code_) exit_code_ = code;
  leave_at_ = Now() + limit;
}

// Nothing of ours may go on without a keeper: the master with its process group, and the workers by
// the pidfds that the masters put here. The group is that of the last master; workers of an earlier
// one are in its group, which may be gone.
void Keeper::KillAndReapAll() {
  if (master_ != -1) ::kill(-master_, SIGKILL);
  for (const auto& [name, fd] : held_) {
    if (name.ends_with(":pidfd")) ::syscall(SYS_pidfd_send_signal, fd.get(), SIGKILL, nullptr, 0);
  }
  channel_.reset();
  held_.clear();  // a worker that nobody put here ends when its channel does
  int64_t until = Now() + kReapLimit;
  while (Now() < until) {
    pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
    if (pid < 0 && errno == ECHILD) return;
    if (pid > 0) continue;
    pollfd fds{signals_.get(), POLLIN, 0};
    ::poll(&fds, 1, static_cast<int>(until - Now()));
    signalfd_siginfo ignored;
    while (::read(signals_.get(), &ignored, sizeof(ignored)) > 0) continue;
  }
}

// ---- words

void Keeper::Tell(const std::string& message, std::span<const int> fds) {
  if (!channel_) return;
  if (Status status = channel_->Send(message, fds); !status.ok()) {
    Say("error", {{"error_msg", "the master does not take messages"},
                  {"error_desc", std::strerror(status.error)}});
  }
}

// One logfmt line on the held log, else on stderr. A log that nobody reads must not stop the
// keeper: the line is dropped.
void Keeper::Say(std::string_view level, std::initializer_list<Field> fields) {
  char timestamp[kTimestampLength];
  FormatTimestamp(std::chrono::system_clock::now(), timestamp);
  std::string line = "timestamp=" + std::string(timestamp, kTimestampLength) +
                     " service=ironsocket process_type=keeper pid=" + std::to_string(::getpid()) +
                     " level=" + std::string(level) + " event=system_error";
  for (const Field& field : fields) {
    char value[512];
    bool cut = false;
    line += " " + std::string(field.key) + "=";
    line.append(value, FormatValue(field.value, value, &cut));
  }
  line += "\n";
  auto log = held_.find("log");
  int fd = log == held_.end() ? STDERR_FILENO : log->second.get();
  pollfd ready{fd, POLLOUT, 0};
  // A pipe that polls writable takes PIPE_BUF bytes without blocking (pipe(7)).
  if (::poll(&ready, 1, 0) == 1 && ::write(fd, line.data(), line.size()) < 0) return;
}

}  // namespace
}  // namespace ironsocket

int main(int argc, char** argv) {
  if (argc < 2) {
    const char usage[] = "keeper: started by `ironsocket run`, not by hand\n";
    return ::write(STDERR_FILENO, usage, sizeof(usage) - 1) < 0 ? ironsocket::kExitSystem
                                                                : 64;  // EX_USAGE
  }
  ironsocket::Keeper keeper(argv + 1);
  keeper.Prepare();
  return keeper.Run();
}
