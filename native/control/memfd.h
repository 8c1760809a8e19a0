// SPDX-License-Identifier: MIT
// Text in memory files (memfd_create(2)): what is too long for a message or has to outlive a
// process. Not for secrets.
#pragma once

#include <string>
#include <string_view>

#include "control/status.h"
#include "net/unique_fd.h"

namespace ironsocket {

// Largest text.
inline constexpr size_t kMaxMemfdText = 16 << 20;

// A sealed, close-on-exec memfd with `text`. `name` shows in /proc/PID/fd. EFBIG: larger than
// kMaxMemfdText, so that nobody could read it.
Status TextToMemfd(const std::string& name, std::string_view text, UniqueFd* out);

// The whole text of a borrowed memfd, read from offset 0 without moving its file position. EFBIG:
// larger than kMaxMemfdText.
Status TextFromMemfd(int fd, std::string* out);

}  // namespace ironsocket
