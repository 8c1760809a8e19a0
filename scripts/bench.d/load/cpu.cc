// SPDX-License-Identifier: MIT
#include "cpu.h"

#include <ctime>

namespace load {
namespace {

uint64_t Read(clockid_t clock) {
  timespec time{};
  if (clock_gettime(clock, &time) != 0) return 0;
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

uint64_t CpuNsOf(pid_t pid) {
  clockid_t clock;
  return clock_getcpuclockid(pid, &clock) == 0 ? Read(clock) : 0;
}

}  // namespace

uint64_t NowNs() { return Read(CLOCK_MONOTONIC); }

CpuClock::CpuClock(std::vector<pid_t> pids) {
  for (const pid_t pid : pids) starts_.push_back({pid, CpuNsOf(pid)});
  own_ = Read(CLOCK_PROCESS_CPUTIME_ID);
  at_ = NowNs();
}

CpuClock::Spent CpuClock::Since() const {
  uint64_t theirs = 0;
  for (const Start& start : starts_) {
    const uint64_t now = CpuNsOf(start.pid);
    if (now > start.ns) theirs += now - start.ns;
  }
  return {theirs, Read(CLOCK_PROCESS_CPUTIME_ID) - own_, static_cast<double>(NowNs() - at_) / 1e9};
}

}  // namespace load
