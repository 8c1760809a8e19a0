// SPDX-License-Identifier: MIT
// The keeper's own log lines and exit codes.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "control/status.h"

namespace ironsocket {

inline constexpr int kExitUsage = 64;     // sysexits(3): EX_USAGE
inline constexpr int kExitInternal = 70;  // EX_SOFTWARE
inline constexpr int kExitSystem = 71;    // EX_OSERR

struct LogField {
  std::string_view key;
  std::string value;
};

// `execve: No such file or directory`.
std::string Describe(const Status& status);

// Writes one logfmt line to the borrowed `fd`. A log that nobody reads must not stop the keeper:
// the line is dropped.
void Say(int fd, std::string_view level, std::string_view event,
         std::initializer_list<LogField> fields);

}  // namespace ironsocket
