// SPDX-License-Identifier: MIT
#include "handshake/handshake_thread.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "net/socket_options.h"

namespace ironsocket {
namespace {

constexpr uint64_t kInboxTag = 0;
constexpr uint64_t kListenerBit = 1;
constexpr size_t kScratch = 64 * 1024;
constexpr size_t kAcceptsPerWake = 4;        // few, so that the other threads get their share
constexpr size_t kLongestQueue = 16 * 1024;  // a flood must not keep us accepting for ever
constexpr uint32_t kLingerMs = 1000;
constexpr size_t kMostDiscarded = 256 * 1024;  // bytes after an alert
constexpr int kNice = 5;
constexpr int64_t kLongestAdoptUs = 1000;  // that a session waits until its thread is awake anyway
constexpr size_t kTrimPeak = 32;  // handshakes at once from which on giving memory back is worth it
constexpr int64_t kTrimEveryMs = 1000;

}  // namespace

HandshakeThread::HandshakeThread(EngineState& state,
                                 const std::vector<std::unique_ptr<RelayThread>>& relays)
    : state_(state),
      relays_(relays),
      counters_(state.counters.ForThread()),
      scratch_(new uint8_t[kScratch]) {}

HandshakeThread::~HandshakeThread() { Join(); }

bool HandshakeThread::Start(std::string* error) {
  if (!epoll_.valid() || !inbox_.valid() || epoll_.Add(inbox_.fd(), EPOLLIN, kInboxTag) != 0) {
    *error = "a handshake thread gets no descriptors";
    return false;
  }
  return thread_.Start(
      "handshake", [this] { Loop(); }, error);
}

void HandshakeThread::Listen(std::vector<std::shared_ptr<Listener>> listeners,
                             std::shared_ptr<std::latch> done) {
  inbox_.Push({Command::kListen, std::move(listeners), std::move(done)});
}

void HandshakeThread::EndConnections() { inbox_.Push({Command::kEndConnections, {}, nullptr}); }

void HandshakeThread::Stop() { inbox_.Push({Command::kStop, {}, nullptr}); }

void HandshakeThread::Join() { thread_.Join(); }

void HandshakeThread::Loop() {
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  std::array<epoll_event, 128> events;
  while (!stopping_) {
    now_ms_ = NowMs();
    const auto ready = epoll_.Wait(events, adopted_ ? 0 : WaitMs());
    now_ms_ = NowMs();
    if (ready.empty()) WakeRelays();  // no others will follow soon
    bool inbox = false;
    for (const epoll_event& event : ready) {
      const uint64_t tag = event.data.u64;
      if (tag == kInboxTag) {
        inbox = true;  // last: it may replace the listeners that the other events name
      } else if (tag & kListenerBit) {
        auto* named = reinterpret_cast<Listener*>(tag & ~kListenerBit);
        for (const auto& listener : listeners_) {
          if (listener.get() == named) Accept(listener, kAcceptsPerWake);
        }
      } else {
        OnEvent(reinterpret_cast<Connection*>(tag), event.events);
      }
      if (adopted_) WakeRelays(kLongestAdoptUs);
    }
    if (inbox) {
      WakeRelays();  // to empty the queues of listeners takes long
      TakeInbox();
    }
    while (TimerNode* node = timers_.Expired(now_ms_)) OnTimer(reinterpret_cast<Connection*>(node));
    if (paused_until_ms_ != 0 && now_ms_ >= paused_until_ms_) Resume();
    DestroyClosed();
    TrimMemory();
  }
  WakeRelays();
  Unregister();
  while (all_) Close(all_);
  DestroyClosed();
}

int HandshakeThread::WaitMs() const {
  int64_t wait = timers_.Timeout(now_ms_);
  const auto bound = [&wait](int64_t limit) { wait = wait < 0 ? limit : std::min(wait, limit); };
  if (paused_until_ms_ != 0) bound(std::max<int64_t>(0, paused_until_ms_ - now_ms_));
  if (open_peak_ >= kTrimPeak) bound(kTrimEveryMs);
  return static_cast<int>(wait);
}

void HandshakeThread::TakeInbox() {
  inbox_.Heard();
  for (Message& message : inbox_.Take()) {
    switch (message.command) {
      case Command::kListen:
        // Who waits in the queue of a listener that goes is not turned away, unless there is no
        // room.
        for (const auto& listener : listeners_) Accept(listener, kLongestQueue);
        Unregister();
        listeners_ = std::move(message.listeners);
        if (paused_until_ms_ == 0) Register();
        if (message.done) message.done->count_down();
        break;
      case Command::kEndConnections:
        while (all_) Close(all_);
        break;
      case Command::kStop:
        stopping_ = true;
        break;
    }
  }
}

void HandshakeThread::OnEvent(Connection* connection, uint32_t events) {
  if (connection->dead) return;
  if (!FlushOutput(connection)) return;
  Read(connection, events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP));
}

// False when the connection is gone.
bool HandshakeThread::FlushOutput(Connection* connection) {
  std::vector<uint8_t>& output = connection->output;
  size_t sent = 0;
  while (sent < output.size()) {
    const ssize_t taken = send(connection->fd.get(), output.data() + sent, output.size() - sent,
                               MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken > 0) {
      sent += static_cast<size_t>(taken);
    } else if (errno == EAGAIN && AwaitRoom(connection)) {
      break;
    } else if (errno != EINTR) {
      if (!connection->failed) {
        counters_.Add(Counter::kHandshakesFailed);
        LogOutcome(*connection, "failed", nullptr, strerror(errno));
      }
      Close(connection);
      return false;
    }
  }
  if (sent == output.size()) {
    // Not clear(): between flights a connection holds no buffer.
    std::vector<uint8_t>().swap(output);
    if (connection->failed && !std::exchange(connection->shut, true)) {
      shutdown(connection->fd.get(), SHUT_WR);
    }
  } else {
    output.erase(output.begin(), output.begin() + static_cast<ptrdiff_t>(sent));
  }
  return true;
}

// A client that does not take its flight is rare: only then is it watched for room, because epoll
// would begin with an event for that. False, with errno, when it can't be.
bool HandshakeThread::AwaitRoom(Connection* connection) {
  if (connection->awaits_room) return true;
  const uint64_t tag = reinterpret_cast<uint64_t>(connection);
  const int error = epoll_.Modify(connection->fd.get(), kConnectionEvents | EPOLLOUT, tag);
  connection->awaits_room = error == 0;
  errno = -error;
  return error == 0;
}

// `hangup`: the end of the stream, or an error, is behind what is there. Otherwise a short read has
// taken everything, and what comes later is an event of its own (epoll(7), question 9).
void HandshakeThread::Read(Connection* connection, bool hangup) {
  for (;;) {
    const ssize_t got = recv(connection->fd.get(), scratch_.get(), kScratch, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      const char* why = got == 0 ? "the client closed the connection" : strerror(errno);
      if (!connection->failed) {
        counters_.Add(Counter::kHandshakesFailed);
        LogOutcome(*connection, "failed", nullptr, why);
      }
      return Close(connection);
    }
    if (connection->failed) {
      connection->discarded += static_cast<size_t>(got);
      if (connection->discarded > kMostDiscarded) return Close(connection);
      continue;
    }
    Advance(connection, {scratch_.get(), static_cast<size_t>(got)});
    if (connection->dead || (static_cast<size_t>(got) < kScratch && !hangup)) return;
  }
}

void HandshakeThread::Advance(Connection* connection, std::span<const uint8_t> input) {
  if (!connection->handshake) {
    connection->handshake = std::make_unique<Handshake>(connection->listener->contexts);
    if (!connection->handshake->valid()) return Fail(connection, "out of memory");
  }
  const Handshake::Status status = connection->handshake->Advance(&input, &connection->output);
  if (status == Handshake::Status::kFailed) {
    return Fail(connection, connection->handshake->error());
  }
  if (!FlushOutput(connection)) return;
  if (status == Handshake::Status::kDone) Complete(connection, input);
}

// Out of OpenSSL's hands: from here on a relay thread owns the connection.
void HandshakeThread::Complete(Connection* connection, std::span<const uint8_t> leftover) {
  auto session = std::make_unique<Established>();
  if (!connection->handshake->Take(&session->tls)) {
    return Fail(connection, connection->handshake->error());
  }
  connection->handshake.reset();
  LogOutcome(*connection, "granted", &session->tls, {});
  counters_.Add(Counter::kHandshakesCompleted);
  if (session->tls.resumed) counters_.Add(Counter::kHandshakesResumed);
  session->id = connection->id;
  session->listener = connection->listener;
  session->client_address = connection->client_address;
  session->local_address = connection->local_address;
  session->accepted_ms = connection->accepted_ms;
  session->ulp_error = connection->ulp_error;
  session->late = listeners_.empty();
  session->leftover.assign(leftover.begin(), leftover.end());
  session->unsent = std::move(connection->output);
  epoll_.Remove(connection->fd.get());
  session->client = std::move(connection->fd);
  const auto least =
      std::min_element(relays_.begin(), relays_.end(),
                       [](const auto& a, const auto& b) { return a->load() < b->load(); });
  (*least)->Adopt(std::move(session));
  adopted_ = true;
  Close(connection);
}

// For the sessions that have waited for `least_us`. A relay thread that was awake has taken those
// it was given.
void HandshakeThread::WakeRelays(int64_t least_us) {
  if (!adopted_) return;
  for (const auto& relay : relays_) relay->Wake(least_us);
  adopted_ = least_us > 0;
}

// The alert, if there is one, is sent; then the client has a moment to read it before the socket
// goes.
void HandshakeThread::Fail(Connection* connection, std::string_view why) {
  counters_.Add(Counter::kHandshakesFailed);
  LogOutcome(*connection, "failed", nullptr, why);
  connection->failed = true;
  connection->handshake.reset();
  timers_.Arm(&connection->timer, kLingerMs, now_ms_);
  FlushOutput(connection);
}

void HandshakeThread::OnTimer(Connection* connection) {
  if (!connection->failed) {
    counters_.Add(Counter::kHandshakesTimedOut);
    counters_.Add(Counter::kHandshakesFailed);
    LogOutcome(*connection, "failed", nullptr, "handshake timeout");
  }
  Close(connection);
}

// Ends this thread's part in a connection, whether its socket has moved on or is closed here.
void HandshakeThread::Close(Connection* connection) {
  const bool moved = !connection->fd.valid();
  connection->dead = true;
  connection->timer.Cancel();
  if (!moved) {
    epoll_.Remove(connection->fd.get());
    SetReset(connection->fd.get(), false);  // the alert, if there is one, is still to arrive
  }
  connection->fd.Reset();
  connection->handshake.reset();
  (connection->previous ? connection->previous->next : all_) = connection->next;
  if (connection->next) connection->next->previous = connection->previous;
  --open_;
  counters_.Subtract(Counter::kHandshakesOpen);
  if (!moved) state_.ConnectionClosed();
  closed_.push_back(connection);
}

void HandshakeThread::DestroyClosed() {
  for (Connection* connection : closed_) delete connection;
  closed_.clear();
}

// After a burst OpenSSL's memory lies free in the allocator: an idle session should not pay for it.
void HandshakeThread::TrimMemory() {
  if (open_peak_ < kTrimPeak || open_ > open_peak_ / 2) return;
  if (now_ms_ - trimmed_ms_ < kTrimEveryMs) return;
  WakeRelays();  // trimming takes milliseconds
  malloc_trim(0);
  trimmed_ms_ = now_ms_;
  open_peak_ = open_;
}

void HandshakeThread::LogOutcome(const Connection& connection, const char* outcome,
                                 const HandshakeResult* result, std::string_view error) {
  // Port scans and health checks come and go without a byte; nobody wants a line for each.
  const bool nothing_came = !result && !connection.handshake;
  const Level level = nothing_came ? Level::kDebug : Level::kInfo;
  if (!state_.log.Enabled(level)) return;
  LogLine line(state_.log, level, "auth");
  line.Add("subevent", "handshake")
      .Add("outcome", outcome)
      .Add("connection_id", ConnectionName(connection.id))
      .Add("listener", connection.listener->name)
      .Add("client_ip", connection.client_address.ip())
      .Add("client_port", connection.client_address.port())
      .Add("listen_ip", connection.local_address.ip())
      .Add("listen_port", connection.local_address.port());
  if (result) {
    line.Add("tls_version", VersionName(result->suite->version))
        .Add("ciphersuite", result->suite->name)
        .Add("group", result->group)
        .Add("resumed", result->resumed)
        .Add("sni", result->sni)
        .Add("alpn", result->alpn);
  } else {
    line.Add("sni", connection.handshake ? connection.handshake->sni() : std::string())
        .Add("error_msg", "handshake failed")
        .Add("error_desc", error);
  }
  line.Add("duration_ms", now_ms_ - connection.accepted_ms).Send();
}

}  // namespace ironsocket
