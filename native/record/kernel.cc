// SPDX-License-Identifier: MIT
#include "record/kernel.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "net/shortage.h"
#include "net/tcp_state.h"
#include "record/post_handshake.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

namespace ironsocket {
namespace {

// linux/tls.h
constexpr int kSetRecordType = 1;  // TLS_SET_RECORD_TYPE
constexpr int kGetRecordType = 2;  // TLS_GET_RECORD_TYPE

// A KeyUpdate of the client that nobody has read yet, or whose keys are missing: asm-generic
// EKEYEXPIRED.
constexpr int kKeyExpired = EKEYEXPIRED;

size_t RecordsOf(size_t bytes) { return (bytes + kMaxPlaintext - 1) / kMaxPlaintext; }

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
  header->cmsg_type = kSetRecordType;
  header->cmsg_len = CMSG_LEN(1);
  *CMSG_DATA(header) = static_cast<uint8_t>(control.type);
  for (;;) {
    if (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return 0;
    if (errno != EINTR) return -errno;
  }
}

}  // namespace

Alert AlertForError(int error) {
  switch (error) {
    case EBADMSG:
      return Alert::kBadRecordMac;
    case EMSGSIZE:
      return Alert::kRecordOverflow;
    case EINVAL:
      return Alert::kProtocolVersion;
    default:
      return Alert::kNone;
  }
}

// --- receiving

int KernelReceiver::Begin(Receiving& rx, int fd) {
  const int error = InstallKeys(fd, Direction::kReceive, rx.keys);
  if (error != 0) return error;
  rx.engine = EngineKind::kKernel;
  rx.why = NotOffloaded::kNone;
  rx.quiet = false;
  rx.unsampled = 0;
  return 0;
}

// One recvmsg: bytes of one type. Without a control message a 0 is the end of the stream, with one
// it is an empty record.
ssize_t KernelReceiver::Receive(int fd, size_t limit) {
  alignas(cmsghdr) uint8_t space[CMSG_SPACE(1)];
  iovec piece{scratch_, std::min(limit, BufferPool::kLargest)};
  for (;;) {
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    const ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    const bool typed =
        header && header->cmsg_level == SOL_TLS && header->cmsg_type == kGetRecordType;
    if (!typed && got == 0) return 0;
    type_ = typed ? static_cast<ContentType>(*CMSG_DATA(header)) : ContentType::kApplicationData;
    length_ = static_cast<size_t>(got);
    records_ = 1;
    return got + static_cast<ssize_t>(kHeaderLength + kTagLength);
  }
}

ssize_t KernelReceiver::Fill(Receiving& rx, int fd, size_t limit) {
  records_ = length_ = 0;
  fault_ = Alert::kNone;
  const ssize_t got = Receive(fd, limit);
  if (got > 0) {
    Count(rx, fd, length_, std::max<size_t>(RecordsOf(length_), 1));
    return got;
  }
  // A KeyUpdate is read before its keys are missed, and then they are there at once. In TLS 1.2
  // there is none, yet a kernel that can rekey takes a handshake record that begins like one for
  // it.
  const bool stuck = got == -kKeyExpired && rx.keys.version == TlsVersion::kTls12;
  if (got == -EAGAIN || (got == -kKeyExpired && !stuck)) return OnEmpty(rx, fd);
  fault_ = stuck ? Alert::kUnexpectedMessage : AlertForError(static_cast<int>(-got));
  if (fault_ != Alert::kNone) {
    // Until it is read, this error also fails the alert that we are going to send.
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  }
  return got;
}

// Nothing to read. The kernel swallows empty records without a word; where one woke us for nothing
// twice in a row, the sequence number tells how many there were.
ssize_t KernelReceiver::OnEmpty(Receiving& rx, int fd) {
  if (!std::exchange(rx.quiet, true)) return -EAGAIN;
  const uint64_t before = rx.keys.sequence;
  uint64_t now = 0;
  if (ReadSequence(fd, Direction::kReceive, rx.keys, &now) != 0) return -EAGAIN;
  rx.keys.sequence = now;
  // Behind other bytes `before` was a guess.
  if (std::exchange(rx.unsampled, 0) > 0 || now <= before) return -EAGAIN;
  type_ = ContentType::kApplicationData;
  length_ = 0;
  records_ = std::min<uint64_t>(now - before, kMaxEmptyRecords + 1);
  return -EAGAIN;
}

void KernelReceiver::Count(Receiving& rx, int fd, size_t bytes, size_t records) {
  rx.quiet = false;
  rx.keys.sequence += records;
  rx.unsampled += static_cast<uint32_t>(bytes);
  if (rx.unsampled < sample_bytes_) return;
  uint64_t now = 0;
  if (ReadSequence(fd, Direction::kReceive, rx.keys, &now) == 0) rx.keys.sequence = now;
  rx.unsampled = 0;
}

RecordReceiver::Next KernelReceiver::NextRecord(Receiving& rx, OpenedRecord* record, Alert* alert) {
  if (fault_ != Alert::kNone) {
    *alert = std::exchange(fault_, Alert::kNone);
    return Next::kFault;
  }
  if (records_ == 0) return Next::kMore;
  --records_;
  const size_t overhead = rx.keys.prefix() + rx.keys.suffix();
  *record = {
      type_, {scratch_, length_}, length_ + overhead * std::max<size_t>(RecordsOf(length_), 1)};
  length_ = 0;
  return Next::kRecord;
}

void KernelReceiver::Park(Receiving& /*rx*/) {
  records_ = length_ = 0;
  fault_ = Alert::kNone;
}

int KernelReceiver::NextKeys(Receiving& rx, int fd) {
  if (!rekey_) return -EOPNOTSUPP;
  if (!NextGeneration(&rx.keys)) return -EIO;
  rx.unsampled = 0;
  const int error = InstallKeys(fd, Direction::kReceive, rx.keys);
  return error == -EBUSY ? -EOPNOTSUPP : error;
}

ssize_t KernelReceiver::Discard(Receiving& /*rx*/, int fd, size_t limit) {
  const ssize_t got = Receive(fd, std::max(limit, kMaxPlaintext));
  const int error = got < 0 ? static_cast<int>(-got) : 0;
  return AlertForError(error) != Alert::kNone || error == kKeyExpired ? -EBADMSG : got;
}

// --- sending

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

void KernelSender::Count(Sending& tx, size_t bytes) {
  tx.content += bytes;
  tx.keys.sequence += RecordsOf(bytes);
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
      Count(tx, static_cast<size_t>(sent));
      left = left.subspan(static_cast<size_t>(sent));
    }
  }
  if (!fresh) {
    tx.unsent.begin = tx.unsent.end - static_cast<uint32_t>(left.size());
    if (tx.unsent.empty()) pool_.Release(&tx.unsent);
  } else if (!left.empty() && (error == -EAGAIN || IsShortage(-error))) {
    // BufferPool::Secure has made this one certain.
    if (!pool_.Append(&tx.unsent, left)) std::abort();
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
  if (const int error = ReadSequence(fd, Direction::kSend, tx.keys, &sequence)) return error;
  if (const int error = InstallKeys(fd, Direction::kSend, tx.keys)) return error;
  tx.records_before += sequence;
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
