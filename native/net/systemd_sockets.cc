// SPDX-License-Identifier: MIT
#include "net/systemd_sockets.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>

namespace ironsocket {
namespace {

constexpr int kFirst = 3;  // SD_LISTEN_FDS_START

int NumberIn(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::atoi(text);
}

// How many are for us: LISTEN_PID is our own PID, which execve(2) has kept.
size_t Count() {
  if (NumberIn("LISTEN_PID") != ::getpid()) return 0;
  return static_cast<size_t>(std::clamp(NumberIn("LISTEN_FDS"), 0, 1'024));
}

}  // namespace

std::vector<std::string> SystemdSocketNames(std::string_view names, size_t count) {
  std::vector<std::string> out;
  std::map<std::string, size_t, std::less<>> times;
  for (size_t i = 0; i < count; ++i) {
    std::string name(names.substr(0, names.find(':')));
    names.remove_prefix(std::min(names.size(), name.size() + 1));
    if (name.empty()) name = "unknown";  // as systemd calls them
    const size_t time = ++times[name];
    out.push_back(time == 1 ? name : name + ":" + std::to_string(time));
  }
  return out;
}

std::vector<std::pair<std::string, UniqueFd>> TakeSystemdSockets() {
  std::vector<std::pair<std::string, UniqueFd>> out;
  const char* names = std::getenv("LISTEN_FDNAMES");
  int fd = kFirst;
  for (std::string& name : SystemdSocketNames(names == nullptr ? "" : names, Count())) {
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    out.emplace_back(std::move(name), UniqueFd(fd++));
  }
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  // close_range(2); glibc has a wrapper only from 2.34 on.
  ::syscall(SYS_close_range, static_cast<unsigned>(fd), ~0U, 0U);
  return out;
}

}  // namespace ironsocket
