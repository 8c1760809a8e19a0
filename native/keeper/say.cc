// SPDX-License-Identifier: MIT
#include "keeper/say.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "log/logfmt.h"

namespace ironsocket {

std::string Describe(const Status& status) {
  return std::string(status.syscall) + ": " + std::strerror(status.error);
}

void Say(int fd, std::string_view level, std::string_view event,
         std::initializer_list<LogField> fields) {
  char timestamp[kTimestampLength];
  FormatTimestamp(std::chrono::system_clock::now(), timestamp);
  std::string line = "timestamp=" + std::string(timestamp, kTimestampLength) +
                     " service=ironsocket process_type=keeper pid=" + std::to_string(::getpid()) +
                     " level=" + std::string(level) + " event=" + std::string(event);
  for (const LogField& field : fields) {
    char value[512];
    bool cut = false;
    line += " " + std::string(field.key) + "=";
    line.append(value, FormatValue(field.value, value, &cut));
  }
  line += "\n";
  pollfd ready{fd, POLLOUT, 0};
  // A pipe that polls writable takes PIPE_BUF bytes without blocking (pipe(7)).
  if (::poll(&ready, 1, 0) != 1) return;
  while (::write(fd, line.data(), line.size()) < 0 && errno == EINTR) continue;
}

}  // namespace ironsocket
