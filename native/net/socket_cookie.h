// SPDX-License-Identifier: MIT
#pragma once

#include <sys/socket.h>

#include <cstdint>

namespace ironsocket {

// The kernel's number of a socket, whatever descriptor names it; no other socket ever has it
// (SO_COOKIE). 0 for what is no socket, and where the kernel does not tell.
inline uint64_t CookieOf(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) != 0) return 0;
  return cookie;
}

}  // namespace ironsocket
