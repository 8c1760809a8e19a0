// SPDX-License-Identifier: MIT
// Tells the service manager how the service fares (sd_notify(3)): lines of NAME=VALUE in one
// datagram to the unix socket that NOTIFY_SOCKET names. That is the whole protocol, so libsystemd,
// which not every machine has, is not needed for it.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "control/status.h"
#include "net/unique_fd.h"

namespace ironsocket {

// Variables that are for the keeper alone: the manager must hear one voice.
inline constexpr const char* kManagerVariables[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC",
                                                    "WATCHDOG_PID"};

// Used by one thread; never blocks.
class Notifier {
 public:
  // Messages that wait for a manager that does not read; later ones are dropped.
  static constexpr size_t kMaxWaiting = 64;

  // Reads the variables above. Without NOTIFY_SOCKET nothing is ever sent. `waiting` is what
  // another keeper has left.
  explicit Notifier(std::deque<std::string> waiting);

  // `lines`: without a newline at the end. What the manager has no room for waits.
  void Send(std::string lines);
  // When Tick() has something to do, in milliseconds of CLOCK_MONOTONIC.
  std::optional<int64_t> due_at() const;
  // Sends what waits, and WATCHDOG=1 when it is time.
  void Tick();

  const std::deque<std::string>& waiting() const { return waiting_; }
  // Why something was not sent. Given once: a manager that is gone is so for every message.
  std::optional<Status> TakeFailure();

 private:
  void Flush();
  void Fail(Status status);

  UniqueFd socket_;  // not valid: nothing is sent
  sockaddr_un manager_{};
  socklen_t manager_length_ = 0;
  std::deque<std::string> waiting_;
  int64_t retry_at_ = 0;     // while something waits
  int64_t watchdog_ms_ = 0;  // between two keep-alives; 0: none
  int64_t watchdog_at_ = 0;
  std::optional<Status> failure_;
  bool failed_ = false;
};

// RELOADING=1 with this very instant: a manager that has sent a signal waits for a later one.
std::string ReloadingNow();

// READY=1 with our own PID, which no upgrade changes. Inside a PID namespace without it: to the
// manager outside that number is another process.
std::string Ready();

}  // namespace ironsocket
