// SPDX-License-Identifier: MIT
#include "sockets.h"

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
#include <fstream>

using namespace ironsocket;

namespace {

constexpr timeval kTimeout{kPatience, 0};

ssize_t OrError(ssize_t result) { return result < 0 ? -errno : result; }

void Prepare(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof kTimeout);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kTimeout, sizeof kTimeout);
}

}  // namespace

const KernelAbilities& Kernel() {
  static const KernelAbilities kernel = ProbeKernel();
  return kernel;
}

Pair Connect(bool with_ulp) {
  UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  REQUIRE(bind(listener.get(), any, size) == 0);
  REQUIRE(listen(listener.get(), 1) == 0);
  REQUIRE(getsockname(listener.get(), any, &size) == 0);
  Pair pair;
  pair.raw.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(connect(pair.raw.get(), any, size) == 0);
  pair.kernel.Reset(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(pair.kernel.valid());
  Prepare(pair.raw.get());
  Prepare(pair.kernel.get());
  if (with_ulp) REQUIRE(AttachUlp(pair.kernel.get()) == 0);
  return pair;
}

Received Receive(int fd, int flags, size_t size) {
  Received received;
  received.content.resize(size);
  alignas(cmsghdr) char control[CMSG_SPACE(1)];
  iovec piece{received.content.data(), size};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  received.result = OrError(recvmsg(fd, &message, flags));
  received.content.resize(static_cast<size_t>(std::max<ssize_t>(received.result, 0)));
  if (received.result < 0) return received;
  received.end = (message.msg_flags & MSG_EOR) != 0;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header && header->cmsg_level == SOL_TLS && header->cmsg_type == TLS_GET_RECORD_TYPE) {
    received.type = *CMSG_DATA(header);
  }
  return received;
}

Bytes ReceiveAll(int fd, size_t length) {
  Bytes all(length);
  size_t done = 0;
  while (done < length) {
    const ssize_t count = recv(fd, all.data() + done, length - done, 0);
    if (count <= 0) break;
    done += static_cast<size_t>(count);
  }
  all.resize(done);
  return all;
}

ssize_t Send(int fd, const Bytes& bytes, int flags) {
  return OrError(send(fd, bytes.data(), bytes.size(), flags));
}

ssize_t SendControl(int fd, ContentType type, const Bytes& content, int flags) {
  alignas(cmsghdr) char control[CMSG_SPACE(1)] = {};
  iovec piece{const_cast<uint8_t*>(content.data()), content.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_TLS;
  header->cmsg_type = TLS_SET_RECORD_TYPE;
  header->cmsg_len = CMSG_LEN(1);
  *CMSG_DATA(header) = static_cast<uint8_t>(type);
  return OrError(sendmsg(fd, &message, flags));
}

ssize_t SpliceFrom(int fd, int pipe, size_t limit) {
  return OrError(splice(fd, nullptr, pipe, nullptr, limit, SPLICE_F_NONBLOCK));
}

Bytes ReadWire(int fd) {
  Bytes header = ReceiveAll(fd, kHeaderLength);
  if (header.size() < kHeaderLength) return header;
  const size_t body = static_cast<size_t>(header[3]) << 8 | header[4];
  return Concat(header, ReceiveAll(fd, body));
}

void Deliver(const Pair& pair, const Bytes& wire) {
  int before = 0, queued = 0;
  REQUIRE(ioctl(pair.kernel.get(), SIOCINQ, &before) == 0);
  REQUIRE(Send(pair.raw.get(), wire) == static_cast<ssize_t>(wire.size()));
  for (int i = 0; i < kPatience * 1000; ++i) {
    REQUIRE(ioctl(pair.kernel.get(), SIOCINQ, &queued) == 0);
    if (queued >= before + static_cast<int>(wire.size())) return;
    poll(nullptr, 0, 1);
  }
  FAIL("the loopback lost ", wire.size(), " bytes");
}

short Poll(int fd, short events) {
  pollfd item{fd, events, 0};
  REQUIRE(poll(&item, 1, 0) >= 0);
  return item.revents;
}

Pipe MakePipe(int slots) {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  Pipe made{UniqueFd(ends[0]), UniqueFd(ends[1])};
  REQUIRE(fcntl(made.in.get(), F_SETPIPE_SZ, slots * static_cast<int>(sysconf(_SC_PAGESIZE))) > 0);
  return made;
}

Bytes SealOne(Aead& aead, TrafficKeys& keys, ContentType type, const Bytes& content) {
  Bytes record(keys.prefix() + content.size() + keys.suffix());
  std::copy(content.begin(), content.end(), record.begin() + static_cast<ptrdiff_t>(keys.prefix()));
  REQUIRE(SealRecord(aead, keys, type, record.data(), content.size()) == record.size());
  return record;
}

long TlsStat(const std::string& name) {
  std::ifstream file("/proc/net/tls_stat");
  std::string word;
  long value = 0;
  while (file >> word >> value) {
    if (word == name) return value;
  }
  return -1;
}
