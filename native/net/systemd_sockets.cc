// SPDX-License-Identifier: MIT
#include "net/systemd_sockets.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace ironsocket {
namespace {

constexpr int kFirst = 3;  // SD_LISTEN_FDS_START

int NumberIn(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::atoi(text);
}

// How many are for us: LISTEN_PID is our own PID, which execve(2) has kept.
int Count() {
  if (NumberIn("LISTEN_PID") != ::getpid()) return 0;
  return std::clamp(NumberIn("LISTEN_FDS"), 0, 1'024);
}

}  // namespace

std::vector<std::pair<std::string, UniqueFd>> TakeSystemdSockets() {
  std::vector<std::pair<std::string, UniqueFd>> out;
  const char* names = std::getenv("LISTEN_FDNAMES");
  std::string rest = names == nullptr ? "" : names;
  int end = kFirst + Count();
  for (int fd = kFirst; fd < end; ++fd) {
    std::string name = rest.substr(0, rest.find(':'));
    rest.erase(0, std::min(rest.size(), name.size() + 1));
    if (name.empty()) name = "unknown";  // as systemd calls them
    auto same = [&](const auto& taken) {
      return taken.first == name || taken.first.starts_with(name + ":");
    };
    auto before = std::count_if(out.begin(), out.end(), same);
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    out.emplace_back(before == 0 ? name : name + ":" + std::to_string(before + 1), UniqueFd(fd));
  }
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  // close_range(2); glibc has a wrapper only from 2.34 on.
  ::syscall(SYS_close_range, static_cast<unsigned>(end), ~0U, 0U);
  return out;
}

}  // namespace ironsocket
