// SPDX-License-Identifier: MIT
#include "net/tcp_state.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace ironsocket {
namespace {

constexpr uint8_t kTcpClose = 7;  // TCP_CLOSE of the kernel's include/net/tcp_states.h

bool ReadInfo(int fd, tcp_info* info) {
  *info = {};
  socklen_t length = sizeof *info;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length) == 0;
}

}  // namespace

bool ReadBytesQueued(int fd, uint64_t* bytes) {
  tcp_info before, after;
  int queued = 0;
  if (!ReadInfo(fd, &after)) return false;
  // An acknowledgement between the two answers moves bytes from one to the other: again, until none
  // came. Each takes bytes away that we don't add to, so it ends.
  do {
    before = after;
    if (ioctl(fd, SIOCOUTQ, &queued) != 0 || !ReadInfo(fd, &after)) return false;
  } while (before.tcpi_bytes_acked != after.tcpi_bytes_acked);
  *bytes = after.tcpi_bytes_acked + static_cast<uint64_t>(queued);
  return true;
}

bool IsClosed(int fd) {
  tcp_info info;
  return ReadInfo(fd, &info) && info.tcpi_state == kTcpClose;
}

}  // namespace ironsocket
