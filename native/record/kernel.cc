// SPDX-License-Identifier: MIT
#include "record/kernel.h"

#include <sys/socket.h>

#include <algorithm>
#include <cassert>
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

size_t RecordsOf(size_t bytes) { return (bytes + kMaxPlaintext - 1) / kMaxPlaintext; }

// Small records were counted as parts of full ones.
void Sample(int fd, Direction direction, TrafficKeys& keys) {
  uint64_t sequence = 0;
  if (ReadSequence(fd, direction, keys, &sequence) == 0) keys.sequence = sequence;
}

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

// kNone where the error is not about records. As OpenSSL maps them
// (ssl/record/methods/ktls_meth.c).
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

// While the socket has an error every send fails with it, our alert too. One of the connection is
// kept.
void ClearError(Receiving& rx, int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0 && AlertForError(error) == Alert::kNone) rx.error = error;
}

}  // namespace

// --- receiving

int KernelReceiver::Begin(Receiving& rx, int fd) {
  const int error = InstallKeys(fd, Direction::kReceive, rx.keys);
  if (error != 0) return error;
  rx.engine = EngineKind::kKernel;
  rx.why = NotOffloaded::kNone;
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
  reached_ = Alert::kNone;
  if (rx.keys_owed) {
    if (const int error = InstallOwed(rx, fd)) return error;
  }
  const ssize_t got = Receive(fd, limit);
  if (got > 0) {
    rx.suspect = false;
    Count(rx, fd, length_, std::max<size_t>(RecordsOf(length_), 1));
    return got;
  }
  return got == 0 ? -rx.error : OnError(rx, fd, static_cast<int>(-got));
}

// Nothing was read. Returns what Fill returns.
ssize_t KernelReceiver::OnError(Receiving& rx, int fd, int error) {
  if (IsShortage(error)) {
    ClearError(rx, fd);  // tls_rx_one_record: whatever fails is EBADMSG for all other calls
    return -error;
  }
  if (error == EKEYEXPIRED && rx.keys.version == TlsVersion::kTls12) {
    // A kernel that can rekey takes any handshake record that begins like a KeyUpdate for one.
    rx.fault = Alert::kUnexpectedMessage;
  } else if (error == EAGAIN || error == EKEYEXPIRED) {
    if (rx.suspect) TakeFault(rx, fd, EINVAL);
    if (rx.fault == Alert::kNone) return OnEmpty(rx, fd);
  } else if (!TakeFault(rx, fd, error)) {
    return -error;
  }
  reached_ = rx.fault;
  rx.stuck = true;
  return -error;
}

bool KernelReceiver::TakeFault(Receiving& rx, int fd, int error) {
  const Alert alert = AlertForError(error);
  if (alert == Alert::kNone || IsClosed(fd)) return false;
  ClearError(rx, fd);
  if (rx.fault == Alert::kNone) rx.fault = alert;
  return true;
}

void KernelReceiver::OnSpliceError(Receiving& rx, int fd, int error) {
  if (error == EAGAIN || error == EKEYEXPIRED) return;
  if (error == EINVAL) {
    rx.suspect = true;
  } else if (IsShortage(error)) {
    ClearError(rx, fd);
  } else if (!TakeFault(rx, fd, error)) {
    rx.error = error;
  }
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
  Sample(fd, Direction::kReceive, rx.keys);
  rx.unsampled = 0;
}

RecordReceiver::Next KernelReceiver::NextRecord(Receiving& rx, OpenedRecord* record, Alert* alert) {
  if (reached_ != Alert::kNone) {
    *alert = std::exchange(reached_, Alert::kNone);
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
  assert(length_ == 0);  // it has gone with its record
  records_ = 0;
  reached_ = Alert::kNone;
}

int KernelReceiver::NextKeys(Receiving& rx, int fd) {
  if (!rekey_) return -EOPNOTSUPP;
  if (!NextGeneration(&rx.keys)) return -EIO;
  rx.unsampled = 0;
  const int error = InstallOwed(rx, fd);
  if (error == -EBUSY) return -EOPNOTSUPP;
  return IsShortage(-error) ? 0 : error;
}

int KernelReceiver::InstallOwed(Receiving& rx, int fd) {
  const int error = InstallKeys(fd, Direction::kReceive, rx.keys);
  rx.keys_owed = error != 0;
  return error;
}

ssize_t KernelReceiver::Discard(Receiving& rx, int fd, size_t limit) {
  const ssize_t got = Receive(fd, std::max(limit, kMaxPlaintext));
  records_ = length_ = 0;
  if (got > 0) return got;
  if (got == 0) return -rx.error;
  const int error = static_cast<int>(-got);
  rx.stuck = error == EKEYEXPIRED || AlertForError(error) != Alert::kNone;
  if (rx.stuck || IsShortage(error)) ClearError(rx, fd);
  return rx.stuck ? -EBADMSG : got;
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

void KernelSender::Count(Sending& tx, int fd, size_t bytes) {
  tx.content += bytes;
  tx.keys.sequence += RecordsOf(bytes);
  tx.unsampled += static_cast<uint32_t>(bytes);
  if (tx.unsampled < sample_bytes_) return;
  Sample(fd, Direction::kSend, tx.keys);
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
