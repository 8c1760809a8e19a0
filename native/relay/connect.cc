// SPDX-License-Identifier: MIT
// The first part of a session's way: a connection to its backend. Every address is tried in turn
// until one answers or the connect timeout, which covers them all, has passed.
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "net/shortage.h"
#include "net/socket_options.h"
#include "relay/relay_thread.h"

namespace ironsocket {
namespace {

// The address is not to blame, trying again later may help: a unix socket with a full backlog says
// EAGAIN, a machine without a free local port EADDRNOTAVAIL.
bool IsPassing(int error) { return IsShortage(error) || error == EAGAIN || error == EADDRNOTAVAIL; }

}  // namespace

void RelayThread::StartConnecting(Session* session) {
  session->phase = Phase::kConnecting;
  session->addresses = session->listener->backend_addresses();
  const size_t count = session->addresses->size();
  session->addresses_left = static_cast<uint16_t>(count);
  session->address_index = count > 0 ? static_cast<uint16_t>(session->id % count) : 0;
  session->connect_error = count > 0 ? 0 : EHOSTUNREACH;
  timers_.Arm(&session->timer, session->listener->connect_ms, now_ms_);
  ConnectNext(session);
}

void RelayThread::ConnectNext(Session* session) {
  while (session->addresses_left > 0) {
    const Endpoint& endpoint = (*session->addresses)[session->address_index];
    const int error = ConnectTo(session, endpoint);
    if (error == 0) return;  // epoll tells how it went
    session->backend.Reset();
    session->connect_error = error;
    if (IsPassing(error)) return Starve(session);
    --session->addresses_left;
    session->address_index =
        static_cast<uint16_t>((session->address_index + 1) % session->addresses->size());
  }
  ConnectFailed(session);
}

// 0: connecting, or connected already. Otherwise an errno.
int RelayThread::ConnectTo(Session* session, const Endpoint& endpoint) {
  UniqueFd fd(socket(endpoint.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno;
  PrepareStream(fd.get(), endpoint.family());
  // After EINTR the connection goes on being made all the same (connect(2)).
  if (connect(fd.get(), endpoint.address(), endpoint.length) != 0 && errno != EINPROGRESS &&
      errno != EINTR) {
    return errno;
  }
  const uint64_t tag = reinterpret_cast<uint64_t>(session) | kBackendBit;
  if (const int error = epoll_.Add(fd.get(), kSessionEvents, tag)) return -error;
  session->backend_readable = session->backend_writable = false;
  session->backend_hangup = session->backend_error = false;
  session->backend = std::move(fd);
  session->backend_address = PeerAddress::From(endpoint.storage);
  return 0;
}

void RelayThread::ConnectTurn(Session* session) {
  if (ClientIsDead(session)) return ResetBoth(session, CloseReason::kClientReset);
  if (!session->backend.valid()) {
    if (!session->starved) ConnectNext(session);
    return;
  }
  if (!session->backend_writable) return;
  int error = 0;
  socklen_t length = sizeof error;
  // What did not connect is announced as an error, too.
  if ((session->backend_error || session->backend_hangup) &&
      getsockopt(session->backend.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
    error = errno;
  }
  if (error == 0) return Connected(session);
  CloseBackend(session);  // what waits for a backend, its PROXY header above all, waits on
  session->connect_error = error;
  --session->addresses_left;
  session->address_index =
      static_cast<uint16_t>((session->address_index + 1) % session->addresses->size());
  ConnectNext(session);
}

void RelayThread::Connected(Session* session) {
  session->phase = Phase::kRelaying;
  session->addresses.reset();
  LogConnected(session);
  ArmForState(session, true);
  RelayTurn(session);
}

void RelayThread::ConnectFailed(Session* session) {
  counters_.Add(Counter::kBackendConnectFailed);
  const bool timeout = session->connect_error == ETIMEDOUT;
  state_.sink({EngineEvent::Type::kBackendFailed, session->listener->name, session->connect_error});
  // No close_notify: an empty answer must not look like one that is whole.
  EndWithAlert(session, timeout ? CloseReason::kConnectTimeout : CloseReason::kBackendFailed,
               Alert::kInternalError);
}

}  // namespace ironsocket
