// SPDX-License-Identifier: MIT
// Socket addresses: parsing and printing of `HOST:PORT`, `[v6]:PORT` and `unix:/path`. Host names
// never come here: JavaScript resolves them and hands down numbers.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ironsocket {

// The address of one end of an accepted or connected socket, small enough to be kept by every
// session: AF_INET, AF_INET6 or AF_UNIX (without path). 28 bytes.
union PeerAddress {
  sockaddr base;
  sockaddr_in v4;
  sockaddr_in6 v6;

  PeerAddress() : v6{} {}
  // Takes what accept4(2), getsockname(2) or getpeername(2) gave. Unknown families become
  // AF_UNSPEC.
  static PeerAddress From(const sockaddr_storage& storage);
  int family() const { return base.sa_family; }
  // Port in host byte order; 0 where there is none.
  uint16_t port() const;
  // Numeric address without port: "192.0.2.1", "2001:db8::1" (an IPv4-mapped address is printed as
  // IPv4), "unix" for AF_UNIX, "" for AF_UNSPEC.
  std::string ip() const;
};

// A place to connect to or to listen on.
struct Endpoint {
  sockaddr_storage storage{};
  socklen_t length = 0;
  std::string text;  // as written, for logs

  // Parses `1.2.3.4:80`, `[2001:db8::1]:80`, `[fe80::1%eth0]:80` or `unix:/path` (at most 107 bytes
  // of path, a leading `@` means the abstract namespace). nullopt on anything else, host names
  // included.
  static std::optional<Endpoint> Parse(std::string_view text);
  int family() const { return storage.ss_family; }
  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

}  // namespace ironsocket
