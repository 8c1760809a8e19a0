// SPDX-License-Identifier: MIT
#include <linux/tls.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <utility>

#include "net/shortage.h"
#include "net/tcp_state.h"
#include "record/kernel.h"
#include "record/post_handshake.h"

namespace ironsocket {
namespace {

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
        header && header->cmsg_level == SOL_TLS && header->cmsg_type == TLS_GET_RECORD_TYPE;
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
  SampleSequence(fd, Direction::kReceive, rx.keys);
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

}  // namespace ironsocket
