// SPDX-License-Identifier: MIT
// Accepting: a connection is taken only when there is room for it. Over max_connections it is
// refused at once; short of descriptors or memory nothing is taken until some are free again, and
// the kernel's queue keeps who waits.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "handshake/handshake_thread.h"

namespace ironsocket {
namespace {

constexpr uint64_t kListenerBit = 1;
constexpr uint32_t kFirstPauseMs = 20;
constexpr uint32_t kLongestPauseMs = 200;
constexpr int64_t kComplainEveryMs = 10'000;

// accept(2): faults of the connection that was in the queue, not of the listener.
bool IsPeerFault(int error) {
  switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EINTR:
      return true;
    default:
      return false;
  }
}

}  // namespace

void HandshakeThread::Register() {
  for (const auto& listener : listeners_) {
    const uint64_t tag = reinterpret_cast<uint64_t>(listener.get()) | kListenerBit;
    // One waiting thread is woken, not all of them.
    const int error = epoll_.Add(listener->fd.get(), EPOLLIN | EPOLLEXCLUSIVE, tag);
    if (error != 0) return Pause(-error);
  }
}

void HandshakeThread::Unregister() {
  for (const auto& listener : listeners_) epoll_.Remove(listener->fd.get());
}

void HandshakeThread::Pause(int error) {
  Unregister();
  pause_ms_ = pause_ms_ == 0 ? kFirstPauseMs : std::min(pause_ms_ * 2, kLongestPauseMs);
  paused_until_ms_ = now_ms_ + pause_ms_;
  counters_.Add(Counter::kAcceptPauses);
  if (now_ms_ - complained_ms_ < kComplainEveryMs) return;
  complained_ms_ = now_ms_;
  LogLine(state_.log, Level::kWarn, "system_error")
      .Add("error_msg", "not accepting for the moment")
      .Add("error_desc", strerror(error))
      .Add("connections_open", state_.connections_open())
      .Send();
}

void HandshakeThread::Resume() {
  paused_until_ms_ = 0;
  Register();
}

void HandshakeThread::Accept(const std::shared_ptr<Listener>& listener, size_t most) {
  for (size_t i = 0; i < most && paused_until_ms_ == 0; ++i) {
    // Each connection needs a second descriptor for its backend: it must not be taken without one
    // in sight.
    if (state_.connections_bound(now_ms_) >=
        state_.fd_connections.load(std::memory_order_relaxed)) {
      return Pause(EMFILE);
    }
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    const int fd = accept4(listener->fd.get(), reinterpret_cast<sockaddr*>(&peer), &length,
                           SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      pause_ms_ = 0;
      Admit(listener, UniqueFd(fd), peer);
    } else if (errno == EAGAIN) {
      return;
    } else if (!IsPeerFault(errno)) {
      return Pause(errno);
    }
  }
}

void HandshakeThread::Refuse(UniqueFd fd) {
  counters_.Add(Counter::kConnectionsRefused);
  fd.Reset();  // a reset: SO_LINGER came with the listener
  if (now_ms_ - complained_ms_ < kComplainEveryMs) return;
  complained_ms_ = now_ms_;
  LogLine(state_.log, Level::kWarn, "system_error")
      .Add("error_msg", "connection refused")
      .Add("error_desc", "max_connections reached")
      .Add("max_connections", state_.max_connections.load(std::memory_order_relaxed))
      .Send();
}

void HandshakeThread::Admit(const std::shared_ptr<Listener>& listener, UniqueFd fd,
                            const sockaddr_storage& peer) {
  if (state_.connections_bound(now_ms_) >= state_.max_connections.load(std::memory_order_relaxed)) {
    return Refuse(std::move(fd));
  }
  auto connection = std::make_unique<Connection>();
  const uint64_t tag = reinterpret_cast<uint64_t>(connection.get());
  const int error = epoll_.Add(fd.get(), kConnectionEvents, tag);
  if (error != 0) {
    counters_.Add(Counter::kConnectionsRefused);
    return Pause(-error);
  }
  connection->id = state_.next_id.fetch_add(1, std::memory_order_relaxed);
  connection->listener = listener;
  connection->client_address = PeerAddress::From(peer);
  connection->local_address = listener->bound;
  if (listener->wildcard) {
    sockaddr_storage local{};
    socklen_t length = sizeof local;
    // ENOTCONN after a reset: the handshake will find out.
    if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&local), &length) == 0) {
      connection->local_address = PeerAddress::From(local);
    }
  }
  // Now, because once the client has sent its FIN it can't be done any more; without keys it
  // changes nothing.
  if (listener->offload.mode != OffloadMode::kUserspace && state_.kernel.ulp_error == 0 &&
      listener->bound.family() != AF_UNIX) {
    connection->ulp_error = -AttachUlp(fd.get());
  }
  connection->fd = std::move(fd);
  connection->accepted_ms = now_ms_;
  timers_.Arm(&connection->timer, listener->handshake_ms, now_ms_);
  connection->next = all_;
  if (all_) all_->previous = connection.get();
  all_ = connection.get();
  open_peak_ = std::max(open_peak_, ++open_);
  state_.ConnectionOpened();
  counters_.Add(Counter::kConnectionsAccepted);
  counters_.Add(Counter::kHandshakesOpen);
  if (state_.log.Enabled(Level::kDebug)) {
    LogLine(state_.log, Level::kDebug, "proxy")
        .Add("subevent", "client_connect")
        .Add("connection_id", ConnectionName(connection->id))
        .Add("listener", listener->name)
        .Add("client_ip", connection->client_address.ip())
        .Add("client_port", connection->client_address.port())
        .Add("listen_ip", connection->local_address.ip())
        .Add("listen_port", connection->local_address.port())
        .Send();
  }
  (void)connection.release();  // in the list now
}

}  // namespace ironsocket
