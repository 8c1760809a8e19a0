// SPDX-License-Identifier: MIT
#include "net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sys/un.h>

#include <charconv>
#include <cstddef>
#include <cstring>

namespace ironsocket {
namespace {

static_assert(sizeof(PeerAddress) == sizeof(sockaddr_in6));

// inet_pton(3) and if_nametoindex(3) take C strings and would stop at a NUL inside the text;
// Parse() has refused those before.
std::string Terminated(std::string_view text) { return std::string(text); }

// Decimal digits only; no sign, no leading zero (080 might be meant as octal).
std::optional<uint16_t> ParsePort(std::string_view text) {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

// An interface by number or by name; 0 where there is none (RFC 4007 section 11.2).
uint32_t ParseZone(std::string_view text) {
  uint32_t index = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error == std::errc() && end == text.data() + text.size()) return index;
  return text.size() < IF_NAMESIZE ? if_nametoindex(Terminated(text).c_str()) : 0;
}

bool ParseUnix(std::string_view path, Endpoint* out) {
  auto* address = reinterpret_cast<sockaddr_un*>(&out->storage);
  // A lone "@" would ask the kernel to choose a name (unix(7), autobind), so there is nothing to
  // connect to; 107 bytes leave room for the final NUL.
  bool abstract = path.starts_with('@') && path.size() > 1;
  if ((!abstract && !path.starts_with('/')) || path.size() >= sizeof(address->sun_path))
    return false;
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path, path.data(), path.size());
  if (abstract) address->sun_path[0] = '\0';
  // The length of an abstract name is the length of the address: a NUL at the end would be part of
  // it.
  out->length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1));
  return true;
}

bool ParseV6(std::string_view host, uint16_t port, Endpoint* out) {
  auto* address = reinterpret_cast<sockaddr_in6*>(&out->storage);
  if (size_t percent = host.find('%'); percent != host.npos) {
    address->sin6_scope_id = ParseZone(host.substr(percent + 1));
    if (address->sin6_scope_id == 0) return false;
    host = host.substr(0, percent);
  }
  address->sin6_family = AF_INET6;
  address->sin6_port = htons(port);
  out->length = sizeof(*address);
  return inet_pton(AF_INET6, Terminated(host).c_str(), &address->sin6_addr) == 1;
}

bool ParseV4(std::string_view host, uint16_t port, Endpoint* out) {
  auto* address = reinterpret_cast<sockaddr_in*>(&out->storage);
  address->sin_family = AF_INET;
  address->sin_port = htons(port);
  out->length = sizeof(*address);
  return inet_pton(AF_INET, Terminated(host).c_str(), &address->sin_addr) == 1;
}

bool ParseInto(std::string_view text, Endpoint* out) {
  if (text.find('\0') != text.npos) return false;
  if (text.starts_with("unix:")) return ParseUnix(text.substr(5), out);
  size_t colon = text.rfind(':');
  if (colon == text.npos) return false;
  std::optional<uint16_t> port = ParsePort(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon);
  if (!port) return false;
  if (host.starts_with('[') && host.ends_with(']')) {
    return ParseV6(host.substr(1, host.size() - 2), *port, out);
  }
  return ParseV4(host, *port, out);
}

}  // namespace

PeerAddress PeerAddress::From(const sockaddr_storage& storage) {
  PeerAddress address;
  switch (storage.ss_family) {
    case AF_INET:
      std::memcpy(&address.v4, &storage, sizeof(address.v4));
      break;
    case AF_INET6:
      std::memcpy(&address.v6, &storage, sizeof(address.v6));
      break;
    case AF_UNIX:
      address.base.sa_family = AF_UNIX;
      break;
    default:
      address.base.sa_family = AF_UNSPEC;
  }
  return address;
}

uint16_t PeerAddress::port() const {
  switch (family()) {
    case AF_INET:
      return ntohs(v4.sin_port);
    case AF_INET6:
      return ntohs(v6.sin6_port);
    default:
      return 0;
  }
}

std::string PeerAddress::ip() const {
  char text[INET6_ADDRSTRLEN] = "";
  switch (family()) {
    case AF_INET:
      return inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    case AF_INET6:
      if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
        return inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof(text));
      }
      return inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    case AF_UNIX:
      return "unix";
    default:
      return "";
  }
}

std::optional<Endpoint> Endpoint::Parse(std::string_view text) {
  std::optional<Endpoint> endpoint(std::in_place);
  if (!ParseInto(text, &*endpoint)) return std::nullopt;
  endpoint->text = text;
  return endpoint;
}

}  // namespace ironsocket
