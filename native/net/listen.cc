// SPDX-License-Identifier: MIT
#include "net/listen.h"

#include <sys/stat.h>
#include <sys/un.h>

#include <cstddef>

#include "net/address.h"

namespace ironsocket {
namespace {

const char* UnixPath(const Endpoint& endpoint) {
  const char* path = reinterpret_cast<const sockaddr_un*>(&endpoint.storage)->sun_path;
  return endpoint.family() == AF_UNIX && path[0] != '\0' ? path : nullptr;
}

// A socket file stays behind when its owner dies; connecting tells whether anybody listens.
bool IsStale(const Endpoint& endpoint) {
  struct stat info {};
  if (::lstat(UnixPath(endpoint), &info) != 0 || !S_ISSOCK(info.st_mode)) return false;
  UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return probe.valid() && ::connect(probe.get(), endpoint.address(), endpoint.length) != 0 &&
         errno == ECONNREFUSED;
}

Status Bind(int fd, const Endpoint& endpoint) {
  if (::bind(fd, endpoint.address(), endpoint.length) == 0) return {};
  Status status = Status::FromErrno("bind");
  if (status.error != EADDRINUSE || UnixPath(endpoint) == nullptr || !IsStale(endpoint))
    return status;
  ::unlink(UnixPath(endpoint));
  return ::bind(fd, endpoint.address(), endpoint.length) == 0 ? Status{}
                                                              : Status::FromErrno("bind");
}

Status SetOptions(int fd, const Endpoint& endpoint, const ListenOptions& options) {
  int on = 1;
  int v6_only = options.v6_only ? 1 : 0;
  if (endpoint.family() != AF_UNIX &&
      ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
    return Status::FromErrno("setsockopt");
  }
  if (endpoint.family() == AF_INET6 &&
      ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only)) != 0) {
    return Status::FromErrno("setsockopt");
  }
  // bind() gives the socket file the mode of the socket itself, less the umask: set before, so that
  // the file is never wider than asked for.
  if (UnixPath(endpoint) != nullptr && options.mode && ::fchmod(fd, *options.mode) != 0) {
    return Status::FromErrno("fchmod");
  }
  return {};
}

Status ListenOn(const Endpoint& endpoint, const ListenOptions& options, UniqueFd* out) {
  UniqueFd fd(::socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return Status::FromErrno("socket");
  if (Status status = SetOptions(fd.get(), endpoint, options); !status.ok()) return status;
  if (Status status = Bind(fd.get(), endpoint); !status.ok()) return status;
  const char* path = UnixPath(endpoint);
  if (path != nullptr && options.mode && ::chmod(path, *options.mode) != 0) {
    return Status::FromErrno("chmod");
  }
  if (::listen(fd.get(), options.backlog) != 0) return Status::FromErrno("listen");
  *out = std::move(fd);
  return {};
}

}  // namespace

Status Listen(const ListenOptions& options, UniqueFd* out) {
  bool any = options.address.starts_with("*:");
  std::string port = any ? options.address.substr(2) : "";
  std::optional<Endpoint> endpoint = Endpoint::Parse(any ? "[::]:" + port : options.address);
  if (!endpoint) return {EINVAL, "parse"};
  Status status = ListenOn(*endpoint, options, out);
  // No IPv6 at all, or switched off by sysctl (then bind says EADDRNOTAVAIL).
  if (any && (status.error == EAFNOSUPPORT || status.error == EADDRNOTAVAIL)) {
    return ListenOn(*Endpoint::Parse("0.0.0.0:" + port), options, out);
  }
  return status;
}

Status LocalAddress(int fd, std::string* out) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) {
    return Status::FromErrno("getsockname");
  }
  if (storage.ss_family == AF_UNIX) {
    std::string path(reinterpret_cast<sockaddr_un*>(&storage)->sun_path,
                     length - offsetof(sockaddr_un, sun_path));
    if (!path.empty() && path.front() == '\0') path.front() = '@';
    *out = "unix:" + path.substr(0, path.find('\0'));
    return {};
  }
  PeerAddress address = PeerAddress::From(storage);
  std::string ip = address.ip();
  bool brackets = ip.find(':') != ip.npos;
  *out = (brackets ? "[" + ip + "]" : ip) + ":" + std::to_string(address.port());
  return {};
}

}  // namespace ironsocket
