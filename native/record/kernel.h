// SPDX-License-Identifier: MIT
// The kernel record engine (linux/tls.h): the socket itself opens and seals. Contents come and go
// with recvmsg and sendmsg, other records with a control message that names their type; bulk goes
// by splice (relay/splice.cc) and is only counted here. All sessions of a thread share its scratch
// buffer.
#pragma once

#include "record/engine.h"

namespace ironsocket {

// Full records that `bytes` of content make.
inline size_t RecordsOf(size_t bytes) { return (bytes + kMaxPlaintext - 1) / kMaxPlaintext; }

class KernelReceiver final : public RecordReceiver {
 public:
  // `scratch`: borrowed, BufferPool::kLargest bytes. `rekey`: KernelAbilities::rekey.
  // `sample_bytes`: after so many the kernel is asked where the sequence number stands.
  KernelReceiver(uint8_t* scratch, bool rekey, uint32_t sample_bytes)
      : scratch_(scratch), rekey_(rekey), sample_bytes_(sample_bytes) {}

  // Gives the kernel the keys of a direction that stands at a record boundary: nothing partial, and
  // nobody else reads the socket. 0 or -errno, and then userspace goes on.
  int Begin(Receiving& rx, int fd);

  ssize_t Fill(Receiving& rx, int fd, size_t limit) override;
  bool Ready(const Receiving&) const override { return false; }
  Next NextRecord(Receiving& rx, OpenedRecord* record, Alert* alert) override;
  void Park(Receiving& rx) override;
  bool ShortMeansEmpty() const override { return false; }
  int NextKeys(Receiving& rx, int fd) override;
  ssize_t Discard(Receiving& rx, int fd, size_t limit) override;
  void Forget(Receiving&) override {}

  // `bytes` of `records` records went by splice.
  void Count(Receiving& rx, int fd, size_t bytes, size_t records);
  // A splice from the socket failed with `error`.
  void OnSpliceError(Receiving& rx, int fd, int error);
  // `error` came from any other call on the socket. True: it is about the client's records, kept
  // for Fill, and the call may be made again.
  bool TakeFault(Receiving& rx, int fd, int error);

 private:
  ssize_t Receive(int fd, size_t limit);
  ssize_t OnError(Receiving& rx, int fd, int error);
  ssize_t OnEmpty(Receiving& rx, int fd);
  int InstallOwed(Receiving& rx, int fd);

  uint8_t* const scratch_;
  const bool rekey_;
  const uint32_t sample_bytes_;
  // What Fill brought.
  size_t records_ = 0;  // equal ones, of which only the first has content
  size_t length_ = 0;
  ContentType type_ = ContentType::kApplicationData;
  Alert reached_ = Alert::kNone;  // the fault behind what was read
};

class KernelSender final : public RecordSender {
 public:
  // As KernelReceiver; the pool is borrowed too.
  KernelSender(BufferPool& pool, uint8_t* scratch, bool rekey, uint32_t sample_bytes)
      : pool_(pool), scratch_(scratch), rekey_(rekey), sample_bytes_(sample_bytes) {}

  // As KernelReceiver::Begin; there must be nothing unsent.
  int Begin(Sending& tx, int fd);

  size_t Room(Sending& tx, size_t limit, std::span<iovec, kMaxPieces> pieces) override;
  bool Seal(Sending& tx, size_t length) override;
  bool SealControl(Sending& tx, ContentType type, std::span<const uint8_t> content) override;
  int SealKeyUpdate(Sending& tx, bool request_update) override;
  int Flush(Sending& tx, int fd) override;
  bool Drained(Sending& tx, int fd) override;
  void Forget(Sending& tx) override { pool_.Release(&tx.unsent); }

  // `bytes` of content were accepted by the socket.
  void Count(Sending& tx, int fd, size_t bytes);

 private:
  int FlushContent(Sending& tx, int fd);
  int FlushControls(Sending& tx, int fd);
  int SwitchKeys(Sending& tx, int fd);

  BufferPool& pool_;
  uint8_t* const scratch_;
  const bool rekey_;
  const uint32_t sample_bytes_;
  size_t ready_ = 0;  // bytes of content in the scratch buffer
};

}  // namespace ironsocket
