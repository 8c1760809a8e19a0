// SPDX-License-Identifier: MIT
#include "keeper/notifier.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "loop/clock.h"

namespace ironsocket {
namespace {

constexpr int64_t kRetryMs = 100;
// PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h: the namespace that all others are in.
constexpr ino_t kFirstPidNamespace = 0xEFFFFFFC;

// False: not a unix socket's path or @name.
bool ToAddress(std::string_view name, sockaddr_un* out, socklen_t* length) {
  if (name.size() < 2 || name.size() >= sizeof(out->sun_path)) return false;
  if (name.front() != '/' && name.front() != '@') return false;
  out->sun_family = AF_UNIX;
  std::memcpy(out->sun_path, name.data(), name.size());
  if (name.front() == '@') out->sun_path[0] = '\0';
  // The name of an abstract socket ends with its length, a path also counts its zero byte.
  *length = offsetof(sockaddr_un, sun_path) + name.size() + (name.front() == '/' ? 1 : 0);
  return true;
}

// sd_watchdog_enabled(3): twice in the time after which the manager would end the service.
int64_t WatchdogMs() {
  const char* usec = std::getenv("WATCHDOG_USEC");
  const char* pid = std::getenv("WATCHDOG_PID");
  if (usec == nullptr || (pid != nullptr && std::atoll(pid) != ::getpid())) return 0;
  const int64_t interval = std::atoll(usec);
  return interval <= 0 ? 0 : std::max<int64_t>(1, interval / 2 / 1000);
}

bool InFirstPidNamespace() {
  struct stat info {};
  return ::stat("/proc/self/ns/pid", &info) == 0 && info.st_ino == kFirstPidNamespace;
}

}  // namespace

Notifier::Notifier(std::deque<std::string> waiting) : waiting_(std::move(waiting)) {
  const char* name = std::getenv("NOTIFY_SOCKET");
  if (name == nullptr || *name == '\0') return;
  if (ToAddress(name, &manager_, &manager_length_)) {
    socket_.Reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket_.valid()) Fail(Status::FromErrno("socket"));
  } else {
    Fail({EAFNOSUPPORT, "NOTIFY_SOCKET"});
  }
  watchdog_ms_ = WatchdogMs();
}

void Notifier::Send(std::string lines) {
  if (!socket_.valid()) return;
  if (waiting_.size() >= kMaxWaiting) return Fail({ENOBUFS, "sendto"});
  waiting_.push_back(std::move(lines));
  Flush();
}

std::optional<int64_t> Notifier::due_at() const {
  if (!socket_.valid() || (waiting_.empty() && watchdog_ms_ == 0)) return std::nullopt;
  if (watchdog_ms_ == 0) return retry_at_;
  return waiting_.empty() ? watchdog_at_ : std::min(retry_at_, watchdog_at_);
}

void Notifier::Tick() {
  if (!socket_.valid()) return;
  const int64_t now = NowMs();
  if (!waiting_.empty() && now >= retry_at_) Flush();
  if (watchdog_ms_ == 0 || now < watchdog_at_) return;
  watchdog_at_ = now + watchdog_ms_;
  // Whatever waits says as well that we live, as soon as it is read.
  if (waiting_.empty()) Send("WATCHDOG=1");
}

std::optional<Status> Notifier::TakeFailure() { return std::exchange(failure_, std::nullopt); }

void Notifier::Flush() {
  while (!waiting_.empty()) {
    const std::string& lines = waiting_.front();
    const ssize_t sent = ::sendto(socket_.get(), lines.data(), lines.size(), MSG_NOSIGNAL,
                                  reinterpret_cast<sockaddr*>(&manager_), manager_length_);
    const Status status = sent < 0 ? Status::FromErrno("sendto") : Status{};
    if (status.error == EINTR) continue;
    if (!status.ok()) Fail(status);
    if (status.error == EAGAIN || status.error == ENOBUFS) {
      retry_at_ = NowMs() + kRetryMs;
      return;
    }
    waiting_.pop_front();
  }
}

void Notifier::Fail(Status status) {
  if (!failed_) failure_ = status;
  failed_ = true;
}

std::string ReloadingNow() { return "RELOADING=1\nMONOTONIC_USEC=" + std::to_string(NowUs()); }

std::string Ready() {
  return InFirstPidNamespace() ? "READY=1\nMAINPID=" + std::to_string(::getpid()) : "READY=1";
}

}  // namespace ironsocket
