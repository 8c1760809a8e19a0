// SPDX-License-Identifier: MIT
// Descriptors that a target gives away, and whether all have been closed again.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "net/unique_fd.h"
#include "require.h"

// What was not closed would move this up.
inline int NextFd() {
  const ironsocket::UniqueFd probe(fcntl(0, F_DUPFD_CLOEXEC, 3));
  return probe.get();
}

// Bytes of another process in memory, with the given seals.
inline ironsocket::UniqueFd Memory(std::span<const uint8_t> bytes,
                                   int seals = F_SEAL_SHRINK | F_SEAL_GROW) {
  ironsocket::UniqueFd memfd(memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  Require(write(memfd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  Require(fcntl(memfd.get(), F_ADD_SEALS, seals) == 0);
  return memfd;
}

// A packet as a hostile peer sends it: any length, any number of descriptors up to the kernel's
// 253. False: the socket has no room.
inline bool Post(int socket, std::span<const uint8_t> bytes, std::span<const int> fds) {
  alignas(cmsghdr) uint8_t space[CMSG_SPACE(253 * sizeof(int))] = {};
  iovec piece{const_cast<uint8_t*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = space;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(control), fds.data(), fds.size_bytes());
  }
  return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}
