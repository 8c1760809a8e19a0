// SPDX-License-Identifier: MIT
// What both directions of the relay stand on: writes and reads that tell errors apart, and windows.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <span>

#include "net/shortage.h"
#include "record/tls.h"

namespace ironsocket {

inline constexpr size_t kTurnBytes = 512 * 1024;  // per direction
inline constexpr uint32_t kLingerMs = 5000;       // for a client that was told the end
inline constexpr uint32_t kMinWindow = kMaxPlaintext;
inline constexpr uint32_t kMaxWindow = 16 * kMaxPlaintext;

// Nothing is wrong with the connection: there is no room, or no memory, at the moment.
inline bool IsPassing(int error) { return error == EAGAIN || IsShortage(error); }

// Bytes written, or -errno when none were.
inline ssize_t WritePieces(int fd, std::span<iovec> pieces) {
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  for (;;) {
    const ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno != EINTR) return -errno;
  }
}

inline ssize_t ReadPieces(int fd, std::span<iovec> pieces) {
  for (;;) {
    const ssize_t got = readv(fd, pieces.data(), static_cast<int>(pieces.size()));
    if (got >= 0) return got;
    if (errno != EINTR) return -errno;
  }
}

// Moves `pieces` past the first `bytes`, dropping those that are used up.
inline std::span<iovec> Advance(std::span<iovec> pieces, size_t bytes) {
  while (!pieces.empty() && bytes >= pieces[0].iov_len) {
    bytes -= pieces[0].iov_len;
    pieces = pieces.subspan(1);
  }
  if (!pieces.empty()) {
    pieces[0].iov_base = static_cast<uint8_t*>(pieces[0].iov_base) + bytes;
    pieces[0].iov_len -= bytes;
  }
  return pieces;
}

// The next read follows what the other side takes: twice as much after a full round, half after a
// blocked one.
inline uint32_t Wider(uint32_t window) { return std::min(window * 2, kMaxWindow); }
inline uint32_t Narrower(uint32_t window) { return std::max(window / 2, kMinWindow); }

}  // namespace ironsocket
