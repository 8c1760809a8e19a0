// SPDX-License-Identifier: MIT
// Whether close() on a TCP socket sends a reset and drops what is unsent (socket(7), SO_LINGER with
// time 0) or ends the connection in order.
#pragma once

#include <sys/socket.h>

namespace ironsocket {

inline void SetReset(int fd, bool reset) {
  const linger option{reset, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, sizeof option);
}

}  // namespace ironsocket
