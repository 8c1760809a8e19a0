// SPDX-License-Identifier: MIT
#include "backend.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "loop/epoll.h"
#include "net/unique_fd.h"
#include "protocol.h"

namespace load {
namespace {

using ironsocket::Epoll;
using ironsocket::UniqueFd;

struct Session {
  UniqueFd fd;
  std::array<uint8_t, sizeof(Header)> start;
  size_t start_size = 0;
  Header header{};
  // Of the pattern, sent or received, and how many of those received were right.
  uint64_t offset = 0;
  uint64_t right = 0;
};

// Sessions go on for so much before others have their turn.
constexpr uint64_t kTurn = 1 << 20;

class Backend {
 public:
  Backend() : buffer_(kChunk) {}

  int Run() {
    if (!epoll_.valid() || !Listen()) {
      perror("backend");
      return 71;
    }
    std::array<epoll_event, 256> events;
    for (;;) {
      for (const epoll_event& event : epoll_.Wait(events, -1)) {
        auto* session = reinterpret_cast<Session*>(event.data.u64);
        if (session == nullptr) {
          Accept();
        } else if (!Turn(session, event.events)) {
          delete session;
        }
      }
    }
  }

 private:
  bool Listen() {
    listener_ = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (!listener_.valid() || bind(listener_.get(), generic, length) != 0 ||
        listen(listener_.get(), 4096) != 0 || getsockname(listener_.get(), generic, &length) != 0 ||
        epoll_.Add(listener_.get(), EPOLLIN, 0) != 0) {
      return false;
    }
    printf("%d\n", ntohs(address.sin_port));
    return fflush(stdout) == 0;
  }

  void Accept() {
    for (;;) {
      UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd.valid()) return;
      const int on = 1;
      setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      auto* session = new Session;
      session->fd = std::move(fd);
      if (epoll_.Add(session->fd.get(), EPOLLIN, reinterpret_cast<uint64_t>(session)) != 0) {
        delete session;
      }
    }
  }

  // False: it has ended.
  bool Turn(Session* session, uint32_t events) {
    if (session->start_size == sizeof(Header) && session->header.kind == Kind::kSource) {
      return (events & (EPOLLERR | EPOLLHUP)) == 0 && Send(session);
    }
    const ssize_t got = recv(session->fd.get(), buffer_.data(), buffer_.size(), 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
    return Take(session, std::span(buffer_).first(got));
  }

  bool Take(Session* session, std::span<const uint8_t> bytes) {
    const size_t missing = sizeof(Header) - session->start_size;
    const size_t part = bytes.size() < missing ? bytes.size() : missing;
    memcpy(session->start.data() + session->start_size, bytes.data(), part);
    session->start_size += part;
    bytes = bytes.subspan(part);
    if (session->start_size < sizeof(Header)) return true;
    if (part > 0) memcpy(&session->header, session->start.data(), sizeof(Header));
    switch (session->header.kind) {
      case Kind::kEcho:
        return Put(session, bytes);
      case Kind::kSource:
        return epoll_.Modify(session->fd.get(), EPOLLOUT, reinterpret_cast<uint64_t>(session)) == 0;
      case Kind::kSink:
        return Sink(session, bytes);
    }
    return false;
  }

  bool Sink(Session* session, std::span<const uint8_t> bytes) {
    if (pattern_.Matches(session->offset, bytes)) session->right += bytes.size();
    session->offset += bytes.size();
    if (session->offset < session->header.length) return true;
    return Put(session, {reinterpret_cast<const uint8_t*>(&session->right), sizeof(uint64_t)});
  }

  bool Send(Session* session) {
    const uint64_t end = session->offset + kTurn;
    while (session->offset < session->header.length) {
      if (session->offset >= end) return true;
      const auto part = pattern_.At(session->offset, session->header.length - session->offset);
      const ssize_t sent = send(session->fd.get(), part.data(), part.size(), MSG_NOSIGNAL);
      if (sent < 0) return errno == EAGAIN || errno == EINTR;
      session->offset += sent;
    }
    // All is sent: the client's end is waited for.
    session->start_size = 0;
    return epoll_.Modify(session->fd.get(), EPOLLIN, reinterpret_cast<uint64_t>(session)) == 0;
  }

  // What is echoed is smaller than any socket buffer, and its sender waits for it.
  bool Put(Session* session, std::span<const uint8_t> bytes) {
    return bytes.empty() || send(session->fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
                                static_cast<ssize_t>(bytes.size());
  }

  Epoll epoll_;
  UniqueFd listener_;
  Pattern pattern_;
  std::vector<uint8_t> buffer_;
};

}  // namespace

int RunBackend() { return Backend().Run(); }

}  // namespace load
