// SPDX-License-Identifier: MIT
// CPU time of other processes in nanoseconds, user and system, with the threads that have ended:
// clock_getcpuclockid(3). The ticks of /proc/PID/stat are too coarse.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace load {

class CpuClock {
 public:
  // Zero from now on.
  explicit CpuClock(std::vector<pid_t> pids);
  // Since then, of all of them and of this process. A process that has ended in between is taken
  // for one that did nothing.
  struct Spent {
    uint64_t theirs_ns;
    uint64_t own_ns;
    double seconds;  // passed
  };
  Spent Since() const;

 private:
  struct Start {
    pid_t pid;
    uint64_t ns;
  };
  std::vector<Start> starts_;
  uint64_t own_;
  uint64_t at_;
};

// CLOCK_MONOTONIC in nanoseconds.
uint64_t NowNs();

}  // namespace load
