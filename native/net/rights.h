// SPDX-License-Identifier: MIT
// Descriptors in a message of a UNIX socket: SCM_RIGHTS of unix(7), cmsg(3).
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "net/shortage.h"
#include "net/unique_fd.h"

namespace ironsocket {

// SCM_MAX_FD of the kernel: a message has no more.
inline constexpr size_t kMaxRights = 253;

// Errors of sendmsg(2) that pass by themselves: the machine is short of something, or too many
// descriptors of this user are on their way (ETOOMANYREFS).
inline bool IsPassingForRights(int error) { return IsShortage(error) || error == ETOOMANYREFS; }

// Room for the descriptors of one message.
struct RightsSpace {
  alignas(cmsghdr) uint8_t bytes[CMSG_SPACE(kMaxRights * sizeof(int))];
};

// Puts `fds`, borrowed and at most kMaxRights, into a message that is to be sent; the space has to
// live until then.
inline void PutRights(std::span<const int> fds, RightsSpace* space, msghdr* header) {
  if (fds.empty()) return;
  header->msg_control = space->bytes;
  header->msg_controllen = CMSG_SPACE(fds.size_bytes());
  std::memset(space->bytes, 0, header->msg_controllen);
  cmsghdr* rights = CMSG_FIRSTHDR(header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
}

// Appends all descriptors of a message that was received. MSG_CTRUNC says whether some are missing.
inline void TakeRights(msghdr* header, std::vector<UniqueFd>* fds) {
  for (cmsghdr* control = CMSG_FIRSTHDR(header); control; control = CMSG_NXTHDR(header, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
      fds->emplace_back(fd);
    }
  }
}

}  // namespace ironsocket
