// SPDX-License-Identifier: MIT
// Listening sockets: made once by the master, then kept by the keeper and passed on, never bound a
// second time.
#pragma once

#include <optional>
#include <string>

#include "control/status.h"
#include "net/unique_fd.h"

namespace ironsocket {

struct ListenOptions {
  // An Endpoint text with a numeric host, or `*:PORT`: every address of the machine (IPv4 only
  // where IPv6 is switched off).
  std::string address;
  int backlog = 4096;            // the kernel caps it at net.core.somaxconn (listen(2))
  bool v6_only = false;          // IPv6 sockets: refuse IPv4-mapped clients
  std::optional<unsigned> mode;  // permissions of a unix socket; unset: those that the umask leaves
};

// A listening, non-blocking, close-on-exec socket. EINVAL with syscall "parse" for a text that is
// no address. A unix socket file that nobody listens on is replaced; one that is in use, or another
// kind of file, is EADDRINUSE.
Status Listen(const ListenOptions& options, UniqueFd* out);

// The numeric address that a socket is bound to, in the form that Endpoint::Parse() takes.
Status LocalAddress(int fd, std::string* out);

}  // namespace ironsocket
