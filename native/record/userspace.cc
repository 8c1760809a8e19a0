// SPDX-License-Identifier: MIT
#include "record/userspace.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "record/post_handshake.h"

namespace ironsocket {
namespace {

// Whether a whole record stands at the front (or a header that deserves an alert).
bool RecordReady(const TrafficKeys& keys, std::span<const uint8_t> bytes) {
  if (bytes.size() < kHeaderLength) return false;
  size_t length = 0;
  if (ParseHeader(keys, bytes.first<kHeaderLength>(), &length) != Alert::kNone) return true;
  return bytes.size() >= length;
}

ssize_t ReceiveBytes(int fd, uint8_t* out, size_t length) {
  for (;;) {
    const ssize_t got = recv(fd, out, length, MSG_DONTWAIT);
    if (got >= 0) return got;
    if (errno != EINTR) return -errno;
  }
}

// Sends as much as the socket takes. Returns the bytes taken or -errno when it took none.
ssize_t SendBytes(int fd, std::span<const uint8_t> bytes, int flags) {
  for (;;) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL | flags);
    if (sent >= 0) return sent;
    if (errno != EINTR) return -errno;
  }
}

}  // namespace

ssize_t UserspaceReceiver::Fill(Receiving& rx, int fd, size_t limit) {
  begin_ = 0;
  end_ = rx.partial.size();
  if (Ready(rx)) {
    bytes_ = rx.partial.data + rx.partial.begin;
    return -EALREADY;
  }
  bytes_ = scratch_;
  if (end_ > 0) {
    std::memcpy(scratch_, rx.partial.bytes().data(), end_);
    pool_.Release(&rx.partial);
  }
  const ssize_t got =
      ReceiveBytes(fd, scratch_ + end_, std::min(limit, BufferPool::kLargest - end_));
  if (got > 0) end_ += static_cast<size_t>(got);
  return got;
}

bool UserspaceReceiver::Ready(const Receiving& rx) const {
  return RecordReady(rx.keys, rx.partial.bytes());
}

RecordReceiver::Next UserspaceReceiver::NextRecord(Receiving& rx, OpenedRecord* record,
                                                   Alert* alert) {
  const std::span<uint8_t> left(bytes_ + begin_, end_ - begin_);
  if (left.size() < kHeaderLength) return Next::kMore;
  size_t length = 0;
  *alert = ParseHeader(rx.keys, left.first<kHeaderLength>(), &length);
  if (*alert != Alert::kNone) return Next::kFault;
  if (left.size() < length) return Next::kMore;
  begin_ += length;
  *alert = OpenRecord(aead_, rx.keys, left.first(length), record);
  return *alert == Alert::kNone ? Next::kRecord : Next::kFault;
}

void UserspaceReceiver::Park(Receiving& rx) {
  if (bytes_ != scratch_) {
    rx.partial.begin += static_cast<uint32_t>(begin_);
    if (rx.partial.empty()) pool_.Release(&rx.partial);
  } else if (begin_ < end_) {
    // BufferPool::Secure has made this one certain.
    if (!pool_.Append(&rx.partial, {scratch_ + begin_, end_ - begin_})) std::abort();
  }
  bytes_ = nullptr;
  begin_ = end_ = 0;
}

int UserspaceReceiver::NextKeys(Receiving& rx, int /*fd*/) {
  aead_.Forget(rx.keys.id);
  return NextGeneration(&rx.keys) ? 0 : -EIO;
}

ssize_t UserspaceReceiver::Discard(Receiving& /*rx*/, int fd, size_t limit) {
  return ReceiveBytes(fd, scratch_, std::min(limit, BufferPool::kLargest));
}

size_t UserspaceReceiver::ToBoundary(const Receiving& rx) const {
  const std::span<const uint8_t> bytes = rx.partial.bytes();
  if (bytes.empty()) return 0;
  if (bytes.size() < kHeaderLength) return kHeaderLength - bytes.size();
  size_t length = 0;
  if (ParseHeader(rx.keys, bytes.first<kHeaderLength>(), &length) != Alert::kNone) return 1;
  return length > bytes.size() ? length - bytes.size()
                               : 1;  // 1: there is a whole one, Fill says so
}

void UserspaceReceiver::Forget(Receiving& rx) {
  aead_.Forget(rx.keys.id);
  pool_.Release(&rx.partial);
}

size_t UserspaceSender::Room(Sending& tx, size_t limit, std::span<iovec, kMaxPieces> pieces) {
  const size_t stride = tx.keys.prefix() + tx.max_content + tx.keys.suffix();
  size_t count = 0;
  while (count < kMaxPieces && limit > 0) {
    const size_t length = std::min<size_t>(limit, tx.max_content);
    pieces[count] = {scratch_ + count * stride + tx.keys.prefix(), length};
    limit -= length;
    ++count;
  }
  return count;
}

bool UserspaceSender::Seal(Sending& tx, size_t length) {
  // Full records stand back to back: Room left exactly the space of header and tag between their
  // contents.
  while (length > 0) {
    const size_t content = std::min<size_t>(length, tx.max_content);
    const size_t total =
        SealRecord(aead_, tx.keys, ContentType::kApplicationData, scratch_ + sealed_, content);
    if (total == 0) {
      sealed_ = 0;  // else the next session's Flush would send them
      return false;
    }
    sealed_ += total;
    length -= content;
  }
  return true;
}

bool UserspaceSender::SealControl(Sending& tx, ContentType type, std::span<const uint8_t> content) {
  const size_t room = tx.keys.prefix() + content.size() + tx.keys.suffix();
  if (sealed_ > 0 || !pool_.Reserve(&tx.unsent, room)) return false;
  uint8_t* record = tx.unsent.data + tx.unsent.end;
  std::memcpy(record + tx.keys.prefix(), content.data(), content.size());
  const size_t total = SealRecord(aead_, tx.keys, type, record, content.size());
  tx.unsent.end += static_cast<uint32_t>(total);
  return total > 0;
}

int UserspaceSender::SealKeyUpdate(Sending& tx, bool request_update) {
  uint8_t message[kKeyUpdateLength];
  WriteKeyUpdate(request_update, message);
  const uint64_t old_id = tx.keys.id;
  if (!SealControl(tx, ContentType::kHandshake, message)) return -ENOMEM;
  if (!NextGeneration(&tx.keys)) return -EIO;
  aead_.Forget(old_id);
  return 0;
}

int UserspaceSender::Flush(Sending& tx, int fd) {
  std::span<const uint8_t> left =
      sealed_ > 0 ? std::span<const uint8_t>(scratch_, sealed_) : tx.unsent.bytes();
  int error = 0;
  while (!left.empty()) {
    const ssize_t sent = SendBytes(fd, left, tx.fin_follows ? MSG_MORE : 0);
    if (sent < 0) {
      error = static_cast<int>(sent);
      break;
    }
    left = left.subspan(static_cast<size_t>(sent));
  }
  if (sealed_ > 0) {
    sealed_ = 0;
    // BufferPool::Secure has made this one certain.
    if (!left.empty() && !pool_.Append(&tx.unsent, left)) std::abort();
  } else {
    tx.unsent.begin = tx.unsent.end - static_cast<uint32_t>(left.size());
    if (tx.unsent.empty()) pool_.Release(&tx.unsent);
  }
  return error;
}

void UserspaceSender::Forget(Sending& tx) {
  aead_.Forget(tx.keys.id);
  pool_.Release(&tx.unsent);
}

}  // namespace ironsocket
