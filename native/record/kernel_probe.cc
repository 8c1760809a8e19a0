// SPDX-License-Identifier: MIT
#include "record/kernel_probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>

#include "net/socket_options.h"
#include "net/unique_fd.h"
#include "record/aead.h"
#include "record/record.h"

#ifndef TLS_TX_MAX_PAYLOAD_LEN
#define TLS_TX_MAX_PAYLOAD_LEN 5
#endif

namespace ironsocket {
namespace {

using Clock = std::chrono::steady_clock;

// For one connection, and for what goes over it. Only a loopback that drops packets gets near it.
constexpr auto kPatience = std::chrono::seconds(1);

// 0, -ETIMEDOUT or -errno.
int AwaitReadable(int fd, Clock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd item{fd, POLLIN, 0};
    const int count = ::poll(&item, 1, static_cast<int>(std::max<int64_t>(left, 0)));
    if (count > 0) return 0;
    if (count == 0) return -ETIMEDOUT;
    if (errno != EINTR) return -errno;
  }
}

// ---- connections over the loopback

struct Pair {
  UniqueFd near;  // accepted, as clients' connections are
  UniqueFd far;
};

union Address {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

Address Loopback(int family) {
  Address address{};
  if (family == AF_INET) {
    address.v4.sin_family = AF_INET;
    address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_addr = IN6ADDR_LOOPBACK_INIT;
  }
  return address;
}

bool SamePort(const Address& a, const Address& b) {
  return a.any.sa_family == AF_INET ? a.v4.sin_port == b.v4.sin_port
                                    : a.v6.sin6_port == b.v6.sin6_port;
}

// Takes connections until it is ours: anybody on this host may connect to the port.
int AcceptOurs(int listener, const Address& ours, UniqueFd* out) {
  const auto deadline = Clock::now() + kPatience;
  while (Clock::now() < deadline) {
    const int waited = AwaitReadable(listener, deadline);
    if (waited != 0) return waited;
    Address peer{};
    socklen_t size = sizeof peer;
    UniqueFd fd(::accept4(listener, &peer.any, &size, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid() && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) return -errno;
    if (!fd.valid() || !SamePort(peer, ours)) continue;
    *out = std::move(fd);
    return 0;
  }
  return -ETIMEDOUT;
}

int ConnectOver(int family, Pair* out) {
  constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  UniqueFd listener(::socket(family, kType, 0));
  if (!listener.valid()) return -errno;
  Address address = Loopback(family);
  socklen_t size = family == AF_INET ? sizeof address.v4 : sizeof address.v6;
  if (::bind(listener.get(), &address.any, size) != 0 || ::listen(listener.get(), 4) != 0 ||
      ::getsockname(listener.get(), &address.any, &size) != 0) {
    return -errno;
  }
  Pair pair;
  pair.far.Reset(::socket(family, kType, 0));
  if (!pair.far.valid()) return -errno;
  if (::connect(pair.far.get(), &address.any, size) != 0 && errno != EINPROGRESS) return -errno;
  if (::getsockname(pair.far.get(), &address.any, &size) != 0) return -errno;
  const int error = AcceptOurs(listener.get(), address, &pair.near);
  if (error != 0) return error;
  // Leave nothing in TIME_WAIT.
  SetReset(pair.near.get(), true);
  SetReset(pair.far.get(), true);
  SetOption(pair.far.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  *out = std::move(pair);
  return 0;
}

// 0, or -errno of IPv4 where IPv6 fails too.
int Connect(Pair* out) {
  const int error = ConnectOver(AF_INET, out);
  return error == 0 || ConnectOver(AF_INET6, out) == 0 ? 0 : error;
}

int ConnectWithUlp(Pair* out) {
  const int error = Connect(out);
  return error != 0 ? error : AttachUlp(out->near.get());
}

// ---- what is tried

// No secret: a pattern is all that is ever sent under them.
TrafficKeys ProbeKeys(TlsVersion version, CipherType cipher) {
  TrafficKeys keys;
  keys.id = 1;  // the only one of its Aead
  keys.version = version;
  keys.cipher = cipher;
  return keys;
}

int (&ErrorsOf(KernelAbilities* abilities, TlsVersion version, CipherType cipher))[2] {
  return abilities->keys_error[version == TlsVersion::kTls13][KernelAbilities::Index(cipher)];
}

// A cipher in both directions of one socket, as sessions have it; then what such a socket can.
void TryCipher(TlsVersion version, CipherType cipher, KernelAbilities* out) {
  int(&error)[2] = ErrorsOf(out, version, cipher);
  Pair pair;
  error[0] = error[1] = -ConnectWithUlp(&pair);
  if (error[0] != 0) return;
  const TrafficKeys keys = ProbeKeys(version, cipher);
  const auto install = [&](Direction direction) {
    return InstallKeys(pair.near.get(), direction, keys);
  };
  for (Direction direction : {Direction::kReceive, Direction::kSend}) {
    error[static_cast<size_t>(direction)] = -install(direction);
  }
  if (error[0] != 0 || error[1] != 0) return;
  uint16_t limit = 0;
  socklen_t size = sizeof limit;
  out->max_payload =
      ::getsockopt(pair.near.get(), SOL_TLS, TLS_TX_MAX_PAYLOAD_LEN, &limit, &size) == 0;
  if (version == TlsVersion::kTls13 && !out->rekey) {
    out->rekey = install(Direction::kSend) == 0 && install(Direction::kReceive) == 0;
  }
}

// Sends `bytes` and waits until they lie in the receive queue of the other end.
bool Deliver(const Pair& pair, std::span<const uint8_t> bytes, int queued_before) {
  if (::send(pair.far.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(bytes.size())) {
    return false;
  }
  const int wanted = queued_before + static_cast<int>(bytes.size());
  const auto deadline = Clock::now() + kPatience;
  while (Clock::now() < deadline) {
    int queued = 0;
    if (::ioctl(pair.near.get(), SIOCINQ, &queued) != 0) return false;
    if (queued >= wanted) return true;
    ::poll(nullptr, 0, 1);
  }
  return false;
}

// Whether a record comes whole through a pipe that has room for a quarter of it. Before 6.1.189 and
// 6.12.117 the kernel counted as moved what it had offered to the pipe: the last bytes of a record
// lie in pages of their own, and are gone when the pipe has no slot for those.
bool SplicesWhole(int fd, std::span<const uint8_t> content) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
  const UniqueFd out(ends[0]), in(ends[1]);
  if (::fcntl(in.get(), F_SETPIPE_SZ, 1) < 0) return false;
  uint8_t piece[kMaxPlaintext];
  size_t moved = 0;
  while (moved < content.size()) {
    const ssize_t count =
        ::splice(fd, nullptr, in.get(), nullptr, content.size(), SPLICE_F_NONBLOCK);
    if (count <= 0 || ::read(out.get(), piece, sizeof piece) != count ||
        std::memcmp(piece, content.data() + moved, static_cast<size_t>(count)) != 0) {
      return false;
    }
    moved += static_cast<size_t>(count);
  }
  return true;
}

// A record in two parts: poll after the first, splice after the second. What can't be found out is
// taken for the worse.
void TryReceiving(TlsVersion version, CipherType cipher, KernelAbilities* out) {
  out->partial_poll = true;
  Pair pair;
  TrafficKeys keys = ProbeKeys(version, cipher);
  if (ConnectWithUlp(&pair) != 0 || InstallKeys(pair.near.get(), Direction::kReceive, keys) != 0) {
    return;
  }
  uint8_t content[kMaxPlaintext], record[kMaxRecord];
  for (size_t i = 0; i < sizeof content; ++i) content[i] = static_cast<uint8_t>(i * 31 >> 3);
  std::memcpy(record + keys.prefix(), content, sizeof content);
  Aead aead;
  const std::span<const uint8_t> sealed(
      record, SealRecord(aead, keys, ContentType::kApplicationData, record, sizeof content));
  constexpr size_t kPart = 1000;
  if (sealed.empty() || !Deliver(pair, sealed.first(kPart), 0)) return;
  pollfd item{pair.near.get(), POLLIN, 0};
  out->partial_poll = ::poll(&item, 1, 0) != 0;
  if (!Deliver(pair, sealed.subspan(kPart), kPart)) return;
  out->splice_whole = SplicesWhole(pair.near.get(), content);
}

}  // namespace

size_t KernelAbilities::Index(CipherType cipher) {
  return static_cast<size_t>(cipher) - static_cast<size_t>(CipherType::kAes128Gcm);
}

int KernelAbilities::Error(TlsVersion version, CipherType cipher, Direction direction) const {
  return keys_error[version == TlsVersion::kTls13][Index(cipher)][static_cast<size_t>(direction)];
}

KernelAbilities ProbeKernel() {
  KernelAbilities found;
  {
    Pair pair;
    found.ulp_error = -ConnectWithUlp(&pair);
  }
  bool received = false;
  for (TlsVersion version : KernelAbilities::kVersions) {
    for (CipherType cipher : KernelAbilities::kCiphers) {
      int(&error)[2] = ErrorsOf(&found, version, cipher);
      if (found.ulp_error != 0) {
        error[0] = error[1] = found.ulp_error;
        continue;
      }
      TryCipher(version, cipher, &found);
      if (received || found.Error(version, cipher, Direction::kReceive) != 0) continue;
      TryReceiving(version, cipher, &found);
      received = true;
    }
  }
  return found;
}

}  // namespace ironsocket
