// SPDX-License-Identifier: MIT
// Options that both sides of a session have. Failures are of no consequence and are ignored:
// AF_UNIX sockets have none of these.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace ironsocket {

inline void SetOption(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

// Whether close() on a TCP socket sends a reset and drops what is unsent (socket(7), SO_LINGER with
// time 0) or ends the connection in order.
inline void SetReset(int fd, bool reset) {
  const linger option{reset, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, sizeof option);
}

// What a connection needs from its start. Keepalive finds an idle peer that vanished without a FIN
// within two minutes: the first probe after 60 s, then 6 that are 10 s apart. One that has bytes to
// acknowledge is found when the kernel gives up sending them (net.ipv4.tcp_retries2: about 15
// minutes) or by the idle timeout. TCP_USER_TIMEOUT would be sooner, but it would also end a reader
// that pauses. Whoever closes the socket without saying otherwise, the kernel included when it
// kills the process, resets the connection: what was cut must never look whole. SetReset(fd, false)
// comes before an orderly close.
inline void PrepareStream(int fd, int family) {
  SetReset(fd, true);
  if (family == AF_UNIX) return;
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, 6);
}

}  // namespace ironsocket
