// SPDX-License-Identifier: MIT
// The calls that may fail. Each does what the real one does, but for what the rule says.
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>

#include "seam.h"

using faults::Announce;
using faults::Fault;
using faults::Meet;

namespace {

template <typename Function>
Function* Real(const char* name, Function*) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int Fail(int error) {
  errno = error;
  return -1;
}

// A peer that has reset the connection: who was told of it will find it so.
void Cut(int fd) {
  const sockaddr none{AF_UNSPEC, {}};
  static auto* const real = Real("connect", &connect);
  real(fd, &none, sizeof none);
}

// Shortens a list of pieces to so many bytes, in place of a copy.
int Shorten(const iovec* pieces, int count, size_t bytes, iovec* out) {
  int used = 0;
  for (; used < count && bytes > 0; ++used) {
    out[used] = pieces[used];
    out[used].iov_len = std::min(bytes, pieces[used].iov_len);
    bytes -= out[used].iov_len;
  }
  return used;
}

constexpr int kMostPieces = 1024;  // UIO_MAXIOV

}  // namespace

#define REAL(name) static auto* const real = Real(#name, &name)
#define CALLER __builtin_return_address(0)

extern "C" {

ssize_t recv(int fd, void* data, size_t size, int flags) {
  REAL(recv);
  const Fault fault = Meet(faults::kRecv, fd, 0, CALLER);
  if (fault.hit) Announce(fd);
  if (fault.hit && fault.error != 0) return Fail(fault.error);
  return real(fd, data, fault.hit ? std::min(size, fault.bytes) : size, flags);
}

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  REAL(recvmsg);
  const Fault fault = Meet(faults::kRecvmsg, fd, 0, CALLER);
  if (!fault.hit) return real(fd, message, flags);
  Announce(fd);
  if (fault.error != 0) return Fail(fault.error);
  iovec pieces[kMostPieces];
  msghdr shorter = *message;
  shorter.msg_iov = pieces;
  shorter.msg_iovlen = static_cast<size_t>(
      Shorten(message->msg_iov, static_cast<int>(message->msg_iovlen), fault.bytes, pieces));
  const ssize_t got = real(fd, &shorter, flags);
  message->msg_controllen = shorter.msg_controllen;
  message->msg_flags = shorter.msg_flags;
  return got;
}

ssize_t readv(int fd, const iovec* pieces, int count) {
  REAL(readv);
  const Fault fault = Meet(faults::kReadv, fd, 0, CALLER);
  if (!fault.hit) return real(fd, pieces, count);
  Announce(fd);
  if (fault.error != 0) return Fail(fault.error);
  iovec shorter[kMostPieces];
  return real(fd, shorter, Shorten(pieces, count, fault.bytes, shorter));
}

ssize_t read(int fd, void* data, size_t size) {
  REAL(read);
  const Fault fault = Meet(faults::kRead, fd, 0, CALLER);
  if (fault.hit && fault.error != 0) return Fail(fault.error);
  return real(fd, data, fault.hit ? std::min(size, fault.bytes) : size);
}

ssize_t send(int fd, const void* data, size_t size, int flags) {
  REAL(send);
  const Fault fault = Meet(faults::kSend, fd, 0, CALLER);
  if (fault.hit && fault.error == EAGAIN) Announce(fd);
  if (fault.hit && fault.error == EPIPE) Cut(fd);
  if (fault.hit && fault.error != 0) return Fail(fault.error);
  return real(fd, data, fault.hit ? std::min(size, fault.bytes) : size, flags);
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  REAL(sendmsg);
  const Fault fault = Meet(faults::kSendmsg, fd, message->msg_controllen > 0 ? 1 : 2, CALLER);
  if (!fault.hit) return real(fd, message, flags);
  if (fault.error == EAGAIN) Announce(fd);
  if (fault.error == EPIPE) Cut(fd);
  if (fault.error != 0) return Fail(fault.error);
  iovec pieces[kMostPieces];
  msghdr shorter = *message;
  shorter.msg_iov = pieces;
  shorter.msg_iovlen = static_cast<size_t>(
      Shorten(message->msg_iov, static_cast<int>(message->msg_iovlen), fault.bytes, pieces));
  return real(fd, &shorter, flags);
}

ssize_t write(int fd, const void* data, size_t size) {
  REAL(write);
  const Fault fault = Meet(faults::kWrite, fd, 0, CALLER);
  if (fault.hit && fault.error != 0) return Fail(fault.error);
  return real(fd, data, fault.hit ? std::min(size, fault.bytes) : size);
}

ssize_t splice(int from, off64_t* from_at, int to, off64_t* to_at, size_t size, unsigned flags) {
  REAL(splice);
  const Fault fault = Meet(faults::kSplice, from, 0, CALLER);
  if (fault.hit) {
    Announce(from);
    Announce(to);
  }
  if (fault.hit && fault.error != 0) return Fail(fault.error);
  return real(from, from_at, to, to_at, fault.hit ? std::min(size, fault.bytes) : size, flags);
}

int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  REAL(accept4);
  const Fault fault = Meet(faults::kAccept, fd, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(fd, address, length, flags);
}

int socket(int domain, int type, int protocol) noexcept {
  REAL(socket);
  const Fault fault = Meet(faults::kSocket, -1, static_cast<uint64_t>(domain), CALLER);
  return fault.hit ? Fail(fault.error) : real(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int ends[2]) noexcept {
  REAL(socketpair);
  const Fault fault = Meet(faults::kSocketpair, -1, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(domain, type, protocol, ends);
}

// connect(2): after EINTR the connection goes on being made.
int connect(int fd, const sockaddr* address, socklen_t length) {
  REAL(connect);
  const Fault fault = Meet(faults::kConnect, fd, 0, CALLER);
  if (fault.hit && fault.error != EINTR) return Fail(fault.error);
  const int result = real(fd, address, length);
  return fault.hit && (result == 0 || errno == EINPROGRESS) ? Fail(fault.error) : result;
}

int epoll_create1(int flags) noexcept {
  REAL(epoll_create1);
  const Fault fault = Meet(faults::kEpollCreate, -1, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(flags);
}

int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  REAL(epoll_ctl);
  const Fault fault = Meet(faults::kEpollCtl, fd, static_cast<uint64_t>(operation), CALLER);
  if (fault.hit) return Fail(fault.error);
  const int result = real(epoll, operation, fd, event);
  if (result == 0) faults::Remember(epoll, fd, operation == EPOLL_CTL_DEL ? nullptr : event);
  return result;
}

int epoll_wait(int epoll, epoll_event* events, int most, int timeout) {
  REAL(epoll_wait);
  const Fault fault = Meet(faults::kEpollWait, -1, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(epoll, events, most, timeout);
}

int eventfd(unsigned value, int flags) noexcept {
  static auto* const real = reinterpret_cast<int (*)(unsigned, int)>(dlsym(RTLD_NEXT, "eventfd"));
  const Fault fault = Meet(faults::kEventfd, -1, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(value, flags);
}

int pipe2(int ends[2], int flags) noexcept {
  REAL(pipe2);
  const Fault fault = Meet(faults::kPipe, -1, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(ends, flags);
}

// `detail` of an option: its level times 65,536 and its name.
int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept {
  REAL(setsockopt);
  const auto detail = static_cast<uint64_t>(level) << 16 | static_cast<uint64_t>(name);
  const Fault fault = Meet(faults::kSetsockopt, fd, detail, CALLER);
  return fault.hit ? Fail(fault.error) : real(fd, level, name, value, length);
}

int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
  REAL(getsockopt);
  const auto detail = static_cast<uint64_t>(level) << 16 | static_cast<uint64_t>(name);
  const Fault fault = Meet(faults::kGetsockopt, fd, detail, CALLER);
  return fault.hit ? Fail(fault.error) : real(fd, level, name, value, length);
}

int getsockname(int fd, sockaddr* address, socklen_t* length) noexcept {
  REAL(getsockname);
  const Fault fault = Meet(faults::kGetsockname, fd, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(fd, address, length);
}

int shutdown(int fd, int how) noexcept {
  REAL(shutdown);
  const Fault fault = Meet(faults::kShutdown, fd, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(fd, how);
}

void* mmap64(void* at, size_t size, int protection, int flags, int fd, off64_t offset) noexcept {
  REAL(mmap64);
  const Fault fault = Meet(faults::kMmap, fd, 0, CALLER);
  if (!fault.hit) return real(at, size, protection, flags, fd, offset);
  errno = fault.error;
  return reinterpret_cast<void*>(-1);
}

int memfd_create(const char* name, unsigned flags) noexcept {
  REAL(memfd_create);
  const Fault fault = Meet(faults::kMemfd, -1, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(name, flags);
}

int ftruncate64(int fd, off64_t size) noexcept {
  REAL(ftruncate64);
  const Fault fault = Meet(faults::kFtruncate, fd, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(fd, size);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
  REAL(fallocate64);
  const Fault fault = Meet(faults::kFallocate, fd, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(fd, mode, offset, size);
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  REAL(pwrite64);
  const Fault fault = Meet(faults::kPwrite, fd, 0, CALLER);
  if (fault.hit && fault.error != 0) return Fail(fault.error);
  return real(fd, data, fault.hit ? std::min(size, fault.bytes) : size, offset);
}

ssize_t pread64(int fd, void* data, size_t size, off64_t offset) {
  REAL(pread64);
  const Fault fault = Meet(faults::kPread, fd, 0, CALLER);
  if (fault.hit && fault.error != 0) return Fail(fault.error);
  return real(fd, data, fault.hit ? std::min(size, fault.bytes) : size, offset);
}

int fcntl64(int fd, int command, ...) {
  static auto* const real = reinterpret_cast<int (*)(int, int, ...)>(dlsym(RTLD_NEXT, "fcntl64"));
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  const Fault fault = Meet(faults::kFcntl, fd, static_cast<uint64_t>(command), CALLER);
  return fault.hit ? Fail(fault.error) : real(fd, command, argument);
}

int ioctl(int fd, unsigned long request, ...) noexcept {
  static auto* const real =
      reinterpret_cast<int (*)(int, unsigned long, ...)>(dlsym(RTLD_NEXT, "ioctl"));
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  const Fault fault = Meet(faults::kIoctl, fd, request, CALLER);
  return fault.hit ? Fail(fault.error) : real(fd, request, argument);
}

int poll(pollfd* fds, nfds_t count, int timeout) {
  REAL(poll);
  const Fault fault = Meet(faults::kPoll, -1, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real(fds, count, timeout);
}

// Unlike all others this one returns its errno.
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                   void* argument) noexcept {
  REAL(pthread_create);
  const Fault fault = Meet(faults::kThread, -1, 0, CALLER);
  return fault.hit ? fault.error : real(thread, attributes, body, argument);
}

pid_t fork() noexcept {
  REAL(fork);
  const Fault fault = Meet(faults::kFork, -1, 0, CALLER);
  return fault.hit ? Fail(fault.error) : real();
}

// dlsym allocates, so these can't ask it.
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);

void* malloc(size_t size) noexcept {
  const Fault fault = Meet(faults::kMalloc, -1, 0, CALLER);
  if (!fault.hit) return __libc_malloc(size);
  errno = ENOMEM;
  return nullptr;
}

void* calloc(size_t count, size_t size) noexcept {
  const Fault fault = Meet(faults::kMalloc, -1, 0, CALLER);
  if (!fault.hit) return __libc_calloc(count, size);
  errno = ENOMEM;
  return nullptr;
}

void* realloc(void* block, size_t size) noexcept {
  const Fault fault = Meet(faults::kMalloc, -1, 0, CALLER);
  if (!fault.hit) return __libc_realloc(block, size);
  errno = ENOMEM;
  return nullptr;
}

}  // extern "C"
