// SPDX-License-Identifier: MIT
// An Engine with real sockets on the loopback, OpenSSL's client in front of it and plain sockets
// behind it. Every wait is for an event, and ends after ten seconds at the latest.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <mutex>

#include "engine.h"
#include "log-output.h"
#include "memory-client.h"

inline void SetTimeouts(int fd) {
  const timeval limit{10, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

inline void ResetOnClose(int fd) {
  const linger option{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, sizeof option);
}

// A listening socket on a free port of 127.0.0.1.
struct Port {
  ironsocket::UniqueFd fd;
  sockaddr_in address{};

  Port() : fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(listen(fd.get(), 64) == 0);
    socklen_t length = sizeof address;
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length);
    SetTimeouts(fd.get());
  }
  std::string text() const { return "127.0.0.1:" + std::to_string(ntohs(address.sin_port)); }
  ironsocket::UniqueFd Accept() const {
    ironsocket::UniqueFd accepted(accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    SetTimeouts(accepted.get());
    return accepted;
  }
  ironsocket::UniqueFd Connect() const {
    ironsocket::UniqueFd connected(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    SetTimeouts(connected.get());
    if (connect(connected.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      connected.Reset();
    return connected;
  }
};

// A port that is taken but not listened on: it refuses, and nobody else can take it meanwhile; but
// only after connect() has said EINPROGRESS.
struct RefusingPort {
  ironsocket::UniqueFd fd{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::string text;

  RefusingPort() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    REQUIRE(bind(fd.get(), generic, sizeof address) == 0);
    socklen_t length = sizeof address;
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length);
    text = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    ironsocket::UniqueFd probe(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    REQUIRE(connect(probe.get(), generic, sizeof address) == -1);
    REQUIRE(errno == EINPROGRESS);
  }
};

// Exactly `size` bytes; fewer when the stream ends before.
inline Bytes Receive(int fd, size_t size) {
  Bytes bytes(size);
  size_t got = 0;
  ssize_t part = 1;
  while (got < size && (part = recv(fd, bytes.data() + got, size - got, 0)) > 0) {
    got += static_cast<size_t>(part);
  }
  bytes.resize(got);
  return bytes;
}
// As the pairs of a handoff are given to an engine with one relay thread.
inline std::vector<ironsocket::UniqueFd> Only(ironsocket::UniqueFd fd) {
  std::vector<ironsocket::UniqueFd> fds;
  fds.push_back(std::move(fd));
  return fds;
}
// How a stream ends: 0 in order, else errno (EAGAIN: it has not, or there is a byte).
inline int EndOf(int fd) {
  uint8_t byte;
  const ssize_t got = recv(fd, &byte, 1, 0);
  return got == 0 ? 0 : got > 0 ? EAGAIN : errno;
}
inline void SendAll(int fd, const Bytes& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t part = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    REQUIRE(part > 0);
    sent += static_cast<size_t>(part);
  }
}

// A client of OpenSSL on a socket.
class LiveClient {
 public:
  LiveClient(const Port& port, int version, uint8_t max_fragment = 0) : fd_(port.Connect()) {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_min_proto_version(context_.get(), version);
    SSL_CTX_set_max_proto_version(context_.get(), version);
    SSL_CTX_set_keylog_callback(context_.get(), [](const SSL* ssl, const char* line) {
      auto* self = static_cast<LiveClient*>(SSL_get_app_data(ssl));
      const std::string_view text(line);
      if (text.starts_with("CLIENT_TRAFFIC_SECRET_0")) {
        self->secret_ = FromHex(text.substr(text.rfind(' ') + 1));
      }
    });
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_app_data(ssl(), this);
    if (max_fragment) SSL_set_tlsext_max_fragment_length(ssl(), max_fragment);
    SSL_set_fd(ssl(), fd());
    ERR_clear_error();
    connected = fd() >= 0 && SSL_connect(ssl()) == 1;
    ERR_clear_error();
  }
  bool connected = false;
  SSL* ssl() const { return ssl_.get(); }
  int fd() const { return fd_.get(); }
  void Close(bool reset) {
    if (reset) ResetOnClose(fd());
    fd_.Reset();
  }

  bool Write(const Bytes& bytes) {
    // OpenSSL writes without MSG_NOSIGNAL: a broken connection must fail the test, not end it.
    sigset_t pipe, before;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    const int written = SSL_write(ssl(), bytes.data(), static_cast<int>(bytes.size()));
    const timespec now{};
    sigtimedwait(&pipe, nullptr, &now);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return written == static_cast<int>(bytes.size());
  }
  Bytes Read(size_t size) {
    Bytes bytes(size);
    size_t got = 0;
    int part = 1;
    while (got < size &&
           (part = SSL_read(ssl(), bytes.data() + got, static_cast<int>(size - got))) > 0) {
      got += static_cast<size_t>(part);
    }
    bytes.resize(got);
    return bytes;
  }
  // TLS 1.3: the keys it writes with, to forge records by; `sequence`: records it has sent.
  ironsocket::TrafficKeys WriteKeys(uint64_t sequence) const {
    ironsocket::TrafficKeys keys;
    const uint32_t id = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl()));
    REQUIRE(
        KeysFromTrafficSecret(*ironsocket::SuiteById(static_cast<uint16_t>(id)), secret_, &keys));
    keys.sequence = sequence;
    return keys;
  }
  // How the stream ends: "close_notify", "fin", "reset", "alert N", or "a byte".
  std::string End() {
    uint8_t byte;
    ERR_clear_error();
    errno = 0;
    const int got = SSL_read(ssl(), &byte, 1);
    const int error = errno;
    if (got > 0) return "a byte";
    const unsigned long code = ERR_get_error();
    if (code == 0 && SSL_get_error(ssl(), got) == SSL_ERROR_ZERO_RETURN) return "close_notify";
    if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) return "fin";
    if (error == ECONNRESET) return "reset";
    const int reason = ERR_GET_REASON(code);
    if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
      return "alert " + std::to_string(reason - SSL_AD_REASON_OFFSET);
    }
    return error == EAGAIN ? "timeout" : "error " + std::to_string(reason);
  }

 private:
  ironsocket::UniqueFd fd_;
  Bytes secret_;
  std::unique_ptr<SSL_CTX, FreeOpenssl> context_;
  std::unique_ptr<SSL, FreeOpenssl> ssl_;
};

// One listener and one backend, unless a test changes `plan`.
struct LiveEngine {
  using Type = ironsocket::EngineEvent::Type;

  Port front, backend;
  ironsocket::UniqueFd log_file{memfd_create("log", MFD_CLOEXEC)};
  ironsocket::UniqueFd chain = Memfd(EcLeaf().pem), key = Memfd(EcLeaf().key_pem);
  ironsocket::UniqueFd tickets = ironsocket::TicketKeys::Create();
  ironsocket::Plan plan;
  std::mutex mutex;
  std::vector<ironsocket::EngineEvent> events;
  ironsocket::Log log{ironsocket::UniqueFd(fcntl(log_file.get(), F_DUPFD_CLOEXEC, 3)),
                      ironsocket::Level::kDebug, "worker"};
  ironsocket::Engine engine;

  explicit LiveEngine(ironsocket::EngineOptions options = {1, 1, 0})
      : engine(options, log, [this](const ironsocket::EngineEvent& event) {
          std::lock_guard lock(mutex);
          events.push_back(event);
        }) {
    ironsocket::ListenerPlan listener;
    listener.id = 7;
    listener.name = "web";
    listener.fd = front.fd.get();
    fcntl(front.fd.get(), F_SETFL, O_NONBLOCK);
    listener.certificates = {{chain.get(), key.get()}};
    listener.min_version = "1.2";
    listener.max_version = "1.3";
    listener.backend = backend.text();
    listener.backend_addresses = {backend.text()};
    plan.listeners.push_back(std::move(listener));
    plan.max_connections = 1000;
    plan.ticket_keys_fd = tickets.get();
  }

  void Configure() {
    std::string error;
    const bool configured = engine.Configure(plan, &error);
    INFO(error);
    REQUIRE(configured);
  }
  uint64_t Count(ironsocket::Counter counter) const {
    uint64_t values[static_cast<size_t>(ironsocket::Counter::kCount)];
    engine.Snapshot(values, std::size(values));
    return values[static_cast<size_t>(counter)];
  }
  size_t Events(Type type) {
    std::lock_guard lock(mutex);
    size_t count = 0;
    for (const auto& event : events) count += event.type == type;
    return count;
  }
  // Waits until no connection is left, then for the log; the reason of the last session's end.
  std::string Reason() {
    using ironsocket::Counter;
    std::string reason;
    Eventually([&] {
      if (Count(Counter::kConnectionsOpen) != 0) return false;
      const std::string text = Contents(log_file.get());
      const size_t at = text.rfind(" reason=");
      if (at == text.npos) return false;
      reason = text.substr(at + 8, text.find(' ', at + 8) - at - 8);
      return true;
    });
    return reason;
  }
};

// A client and its backend connection, handshake done, one byte exchanged both ways.
struct LiveSession {
  LiveClient client;
  ironsocket::UniqueFd backend;

  explicit LiveSession(LiveEngine& live, int version = TLS1_3_VERSION)
      : client(live.front, version) {
    REQUIRE(client.connected);
    backend = live.backend.Accept();
    REQUIRE(backend.valid());
    REQUIRE(client.Write({'a'}));
    REQUIRE(Receive(backend.get(), 1) == Bytes{'a'});
    SendAll(backend.get(), {'b'});
    REQUIRE(client.Read(1) == Bytes{'b'});
  }
};
