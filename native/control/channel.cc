// SPDX-License-Identifier: MIT
#include "control/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "loop/clock.h"
#include "net/rights.h"

namespace ironsocket {
namespace {

constexpr int kSendBuffer = 256 * 1024;
constexpr int64_t kRetryMs = 10;

// sendmsg(2) with the descriptors as SCM_RIGHTS. 0 or an errno.
int SendMessage(int fd, std::string_view message, std::span<const int> fds) {
  iovec part{const_cast<char*>(message.data()), message.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  RightsSpace space;
  PutRights(fds, &space, &header);
  ssize_t sent;
  do {
    sent = ::sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

bool IsWithinLimits(std::string_view message, std::span<const int> fds) {
  return !message.empty() && message.size() <= Channel::kMaxMessage &&
         fds.size() <= Channel::kMaxFds;
}

bool PeerIsGone(int error) { return error == EPIPE || error == ECONNRESET || error == ENOTCONN; }

}  // namespace

Status Channel::Pair(UniqueFd* a, UniqueFd* b) {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) {
    return Status::FromErrno("socketpair");
  }
  a->Reset(fds[0]);
  b->Reset(fds[1]);
  return {};
}

Channel::Channel(UniqueFd fd) : fd_(std::move(fd)) {
  ::fcntl(fd_.get(), F_SETFD, FD_CLOEXEC);
  ::fcntl(fd_.get(), F_SETFL, ::fcntl(fd_.get(), F_GETFL) | O_NONBLOCK);
  // Best effort: the default holds a message of kMaxMessage as well, unless somebody lowered it.
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof(kSendBuffer));
}

Status Channel::Send(std::string_view message, std::span<const int> fds) {
  if (!IsWithinLimits(message, fds)) return {EMSGSIZE, "sendmsg"};
  refused_ = false;
  if (waiting()) return Enqueue(message, fds);
  int error = SendMessage(fd_.get(), message, fds);
  if (WaitsAfter(error)) return Enqueue(message, fds);
  if (error == 0 || PeerIsGone(error)) return {};
  return {error, "sendmsg"};
}

Status Channel::TrySend(std::string_view message, std::span<const int> fds) {
  if (!IsWithinLimits(message, fds)) return {EMSGSIZE, "sendmsg"};
  int error = waiting() ? EAGAIN : SendMessage(fd_.get(), message, fds);
  refused_ = waiting() || WaitsAfter(error);
  if (refused_) return {EAGAIN, "sendmsg"};
  if (error == 0 || PeerIsGone(error)) return {};
  return {error, "sendmsg"};
}

Status Channel::Enqueue(std::string_view message, std::span<const int> fds) {
  if (queue_.size() >= kMaxQueued) return {ENOBUFS, "sendmsg"};
  Queued queued{std::string(message), {}};
  for (int fd : fds) {
    UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!copy.valid()) return Status::FromErrno("fcntl");
    queued.fds.push_back(std::move(copy));
  }
  queue_.push_back(std::move(queued));
  return {};
}

bool Channel::WaitsAfter(int error) {
  retry_at_.reset();
  // There may be room then, so that whoever polled for that would try at once, again and again.
  if (IsPassingForRights(error)) retry_at_ = NowMs() + kRetryMs;
  return error == EAGAIN || retry_at_;
}

Status Channel::Flush() {
  while (!queue_.empty()) {
    std::vector<int> fds;
    for (const UniqueFd& fd : queue_.front().fds) fds.push_back(fd.get());
    int error = SendMessage(fd_.get(), queue_.front().message, fds);
    if (WaitsAfter(error)) return {};
    queue_.pop_front();
    if (PeerIsGone(error)) queue_.clear();
    if (error != 0 && !PeerIsGone(error)) return {error, "sendmsg"};
  }
  return {};
}

void Channel::Finish(int64_t until_ms) {
  while (Flush(), waiting()) {
    const int64_t now = NowMs();
    if (now >= until_ms) return;
    pollfd room{fd_.get(), POLLOUT, 0};
    const int64_t wake_at = std::min(until_ms, retry_at_.value_or(until_ms));
    ::poll(&room, retry_at_ ? 0 : 1, static_cast<int>(std::max<int64_t>(wake_at - now, 1)));
  }
}

void Channel::Close() {
  fd_.Reset();
  queue_.clear();
  refused_ = false;
}

Channel::Received Channel::Receive(std::string* message, std::vector<UniqueFd>* fds) {
  message->resize(kMaxMessage);
  fds->clear();
  iovec part{message->data(), message->size()};
  RightsSpace space;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = space.bytes;
  header.msg_controllen = sizeof space.bytes;
  ssize_t length;
  do {
    length = ::recvmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (length < 0 && errno == EINTR);
  if (length < 0) return errno == EAGAIN ? Received::kNothing : Received::kClosed;
  TakeRights(&header, fds);
  // Send() makes no empty messages, so an empty one is the end (recv(2)).
  if (length == 0) return Received::kClosed;
  message->resize(static_cast<size_t>(length));
  if (header.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) {
    fds->clear();
    return Received::kFdsLost;
  }
  return Received::kMessage;
}

}  // namespace ironsocket
