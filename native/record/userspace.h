// SPDX-License-Identifier: MIT
// The userspace record engine: reads many records with one recv, opens them in place, seals a batch
// in place and sends it with one send. All sessions of a thread share its scratch buffer; a session
// keeps a block only for what could not go on.
#pragma once

#include "record/aead.h"
#include "record/engine.h"

namespace ironsocket {

class UserspaceReceiver final : public RecordReceiver {
 public:
  // Borrowed: the thread's cipher contexts, its pool, and a scratch buffer of BufferPool::kLargest
  // bytes.
  UserspaceReceiver(Aead& aead, BufferPool& pool, uint8_t* scratch)
      : aead_(aead), pool_(pool), scratch_(scratch) {}

  ssize_t Fill(Receiving& rx, int fd, size_t limit) override;
  bool Ready(const Receiving& rx) const override;
  Next NextRecord(Receiving& rx, OpenedRecord* record, Alert* alert) override;
  void Park(Receiving& rx) override;
  bool ShortMeansEmpty() const override { return true; }
  int NextKeys(Receiving& rx, int fd) override;
  ssize_t Discard(Receiving& rx, int fd, size_t limit) override;
  void Forget(Receiving& rx) override;

  // Bytes to read so that the read ends with the record that was begun, or with its header where
  // that is not whole yet. 0: there is no partial record, the next byte begins one.
  size_t ToBoundary(const Receiving& rx) const;

 private:
  Aead& aead_;
  BufferPool& pool_;
  uint8_t* const scratch_;
  // What is being opened: bytes of the scratch buffer or of the session's own block.
  uint8_t* bytes_ = nullptr;
  size_t begin_ = 0;
  size_t end_ = 0;
};

class UserspaceSender final : public RecordSender {
 public:
  UserspaceSender(Aead& aead, BufferPool& pool, uint8_t* scratch)
      : aead_(aead), pool_(pool), scratch_(scratch) {}

  size_t Room(Sending& tx, size_t limit, std::span<iovec, kMaxPieces> pieces) override;
  bool Seal(Sending& tx, size_t length) override;
  bool SealControl(Sending& tx, ContentType type, std::span<const uint8_t> content) override;
  int SealKeyUpdate(Sending& tx, bool request_update) override;
  int Flush(Sending& tx, int fd) override;
  bool Drained(Sending&, int) override { return true; }
  void Forget(Sending& tx) override;

 private:
  Aead& aead_;
  BufferPool& pool_;
  uint8_t* const scratch_;
  size_t sealed_ = 0;  // bytes of sealed records in the scratch buffer
};

}  // namespace ironsocket
