// SPDX-License-Identifier: MIT
#include <linux/tls.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "net/shortage.h"
#include "net/tcp_state.h"
#include "record/kernel.h"
#include "record/post_handshake.h"

namespace ironsocket {
namespace {

ssize_t SendContent(int fd, std::span<const uint8_t> bytes) {
  for (;;) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno != EINTR) return -errno;
  }
}

int SendControl(int fd, const PendingControl& control) {
  alignas(cmsghdr) uint8_t space[CMSG_SPACE(1)] = {};
  iovec piece{const_cast<uint8_t*>(control.content), control.length};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = space;
  message.msg_controllen = sizeof space;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_TLS;
  header->cmsg_type = TLS_SET_RECORD_TYPE;
  header->cmsg_len = CMSG_LEN(1);
  *CMSG_DATA(header) = static_cast<uint8_t>(control.type);
  for (;;) {
    const ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    // A part of it is a record by itself: what the rest would be is another one.
    if (sent >= 0) return sent == control.length ? 0 : -EPROTO;
    if (errno != EINTR) return -errno;
  }
}

}  // namespace

int KernelSender::Begin(Sending& tx, int fd) {
  // First what can fail: nothing may, once the keys are in.
  uint64_t queued = 0;
  if (!ReadBytesQueued(fd, &queued)) return -ENOTSUP;
  const uint64_t first = tx.keys.sequence;
  const int error = InstallKeys(fd, Direction::kSend, tx.keys);
  if (error != 0) return error;
  tx.engine = EngineKind::kKernel;
  tx.why = NotOffloaded::kNone;
  tx.wire_base = queued;
  tx.content = 0;
  tx.records_before = 0 - first;
  return 0;
}

size_t KernelSender::Room(Sending& /*tx*/, size_t limit, std::span<iovec, kMaxPieces> pieces) {
  pieces[0] = {scratch_, std::min(limit, BufferPool::kLargest)};
  return 1;
}

bool KernelSender::Seal(Sending& /*tx*/, size_t length) {
  ready_ = length;
  return true;
}

bool KernelSender::SealControl(Sending& tx, ContentType type, std::span<const uint8_t> content) {
  if (tx.control_count == std::size(tx.controls) ||
      content.size() > sizeof tx.controls[0].content) {
    return false;
  }
  PendingControl& control = tx.controls[tx.control_count++];
  control.type = type;
  control.length = static_cast<uint8_t>(content.size());
  std::memcpy(control.content, content.data(), content.size());
  return true;
}

int KernelSender::SealKeyUpdate(Sending& tx, bool request_update) {
  if (!rekey_) return -EOPNOTSUPP;
  uint8_t message[kKeyUpdateLength];
  WriteKeyUpdate(request_update, message);
  if (!NextGeneration(&tx.keys)) return -EIO;
  return SealControl(tx, ContentType::kHandshake, message) ? 0 : -ENOBUFS;
}

void KernelSender::Count(Sending& tx, int fd, size_t bytes) {
  tx.content += bytes;
  tx.keys.sequence += RecordsOf(bytes);
  tx.unsampled += static_cast<uint32_t>(bytes);
  if (tx.unsampled < sample_bytes_) return;
  SampleSequence(fd, Direction::kSend, tx.keys);
  tx.unsampled = 0;
}

int KernelSender::Flush(Sending& tx, int fd) {
  const int error = FlushContent(tx, fd);
  return error != 0 ? error : FlushControls(tx, fd);
}

int KernelSender::FlushContent(Sending& tx, int fd) {
  const bool fresh = ready_ > 0;
  std::span<const uint8_t> left =
      fresh ? std::span<const uint8_t>(scratch_, std::exchange(ready_, 0)) : tx.unsent.bytes();
  int error = 0;
  while (!left.empty() && error == 0) {
    const ssize_t sent = SendContent(fd, left);
    if (sent < 0) {
      error = static_cast<int>(sent);
    } else {
      Count(tx, fd, static_cast<size_t>(sent));
      left = left.subspan(static_cast<size_t>(sent));
    }
  }
  if (!fresh) {
    tx.unsent.begin = tx.unsent.end - static_cast<uint32_t>(left.size());
    if (tx.unsent.empty()) pool_.Release(&tx.unsent);
  } else if (!left.empty() && !pool_.Append(&tx.unsent, left)) {
    std::abort();  // BufferPool::Secure has made this one certain
  }
  return error;
}

int KernelSender::FlushControls(Sending& tx, int fd) {
  while (tx.control_count > 0) {
    PendingControl& control = tx.controls[0];
    if (control.length > 0) {
      if (const int error = SendControl(fd, control)) return error;
      tx.content += std::exchange(control.length, 0);
      if (control.type != ContentType::kHandshake) ++tx.keys.sequence;
    }
    if (control.type == ContentType::kHandshake) {
      if (const int error = SwitchKeys(tx, fd)) return error;
    }
    tx.controls[0] = tx.controls[1];
    --tx.control_count;
  }
  return 0;
}

// The KeyUpdate was the last record under the old keys. Safe to try again after a shortage.
int KernelSender::SwitchKeys(Sending& tx, int fd) {
  uint64_t sequence = 0;
  int error = ReadSequence(fd, Direction::kSend, tx.keys, &sequence);
  if (error == 0) error = InstallKeys(fd, Direction::kSend, tx.keys);
  if (error != 0) return IsShortage(-error) ? error : -EPROTO;  // not to be taken for the client's
  tx.records_before += sequence;
  tx.unsampled = 0;
  return 0;
}

// Bytes that the kernel has accepted and sealed may still wait above TCP; shutdown() and close()
// would drop them without a word (net/tls/tls_main.c, tls_sk_proto_close). TCP's own count tells
// when they are through.
bool KernelSender::Drained(Sending& tx, int fd) {
  uint64_t sequence = 0;
  uint64_t queued = 0;
  if (IsClosed(fd) || ReadSequence(fd, Direction::kSend, tx.keys, &sequence) != 0 ||
      !ReadBytesQueued(fd, &queued)) {
    return true;  // nobody to wait for
  }
  const uint64_t overhead = tx.keys.prefix() + tx.keys.suffix();
  const uint64_t sealed = tx.content + (tx.records_before + sequence) * overhead;
  return static_cast<int64_t>(sealed - (queued - tx.wire_base)) <= 0;
}

}  // namespace ironsocket
