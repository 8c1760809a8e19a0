// SPDX-License-Identifier: MIT
#pragma once

#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>

#include "net/unique_fd.h"

// Two connected sockets. By default as workers and masters have them between each other: packets,
// and neither end waits.
struct SocketPair {
  ironsocket::UniqueFd ours, theirs;

  explicit SocketPair(int type = SOCK_SEQPACKET | SOCK_NONBLOCK) {
    int ends[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) {
      std::perror("socketpair");
      std::abort();
    }
    ours = ironsocket::UniqueFd(ends[0]);
    theirs = ironsocket::UniqueFd(ends[1]);
  }
};
