// SPDX-License-Identifier: MIT
// The receiving side of a session as a relay thread has it: a socket, the userspace engine that all
// sessions of the thread share, and Judge. A target feeds it bytes in pieces.
#pragma once

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include "../native/socket-pair.h"
#include "record-keys.h"
#include "record/post_handshake.h"
#include "record/userspace.h"

using Bytes = std::vector<uint8_t>;

// How the bytes come and how far a turn goes.
struct Pace {
  size_t piece = SIZE_MAX;    // bytes that are sent at once
  size_t limit = SIZE_MAX;    // bytes of one Fill
  size_t records = SIZE_MAX;  // after so many a turn ends, with the rest kept
  bool to_boundary = false;   // a Fill that goes on with a record stops at its end
};

class Reader {
 public:
  struct Record {
    ironsocket::ContentType type;
    Bytes content;
  };

  explicit Reader(ironsocket::TrafficKeys keys) { rx_.keys = std::move(keys); }
  ~Reader() { Thread().receiver.Forget(rx_); }

  // Sends the bytes, and gives turns until nothing is left to do.
  void Feed(std::span<const uint8_t> bytes, const Pace& pace) {
    while (!bytes.empty()) {
      const auto piece = bytes.first(std::min({bytes.size(), pace.piece, size_t{32} * 1024}));
      bytes = bytes.subspan(piece.size());
      Require(send(pair_.theirs.get(), piece.data(), piece.size(), MSG_NOSIGNAL) ==
              static_cast<ssize_t>(piece.size()));
      size_t waiting = piece.size();
      while (waiting > 0 || (!ended && Thread().receiver.Ready(rx_))) {
        waiting -= ended ? Discard(pace) : Turn(pace, waiting);
      }
    }
  }

  std::vector<Record> records;  // all that were opened
  Bytes data;                   // application data among them
  bool ended = false;
  ironsocket::Alert alert =
      ironsocket::Alert::kNone;  // what the client is told where it is at fault

 private:
  struct Shared {
    ironsocket::Aead aead;
    ironsocket::BufferPool pool;
    std::unique_ptr<uint8_t[]> scratch{new uint8_t[ironsocket::BufferPool::kLargest]};
    ironsocket::UserspaceReceiver receiver{aead, pool, scratch.get()};
  };
  static Shared& Thread() {
    static Shared shared;
    return shared;
  }

  // Gives the bytes that it took off the socket.
  size_t Turn(const Pace& pace, size_t waiting) {
    auto& receiver = Thread().receiver;
    Require(Thread().pool.Secure(1));
    const bool ready = receiver.Ready(rx_);
    const size_t boundary = receiver.ToBoundary(rx_);
    Require((boundary == 0) == rx_.partial.empty());
    const bool bounded = pace.to_boundary && boundary > 0;
    const ssize_t filled = receiver.Fill(rx_, pair_.ours.get(), bounded ? boundary : pace.limit);
    Require(ready ? filled == -EALREADY : filled > 0);
    Require(filled <= static_cast<ssize_t>(waiting));
    Open(pace.records);
    receiver.Park(rx_);
    return ready ? 0 : static_cast<size_t>(filled);
  }

  void Open(size_t most) {
    auto& receiver = Thread().receiver;
    for (size_t count = 0; count < most && !ended; count++) {
      ironsocket::OpenedRecord record;
      const auto next = receiver.NextRecord(rx_, &record, &alert);
      if (next == ironsocket::RecordReceiver::Next::kMore) break;
      if (next == ironsocket::RecordReceiver::Next::kFault) {
        Require(alert != ironsocket::Alert::kNone);
        ended = true;
        return;
      }
      Require(record.content.size() <= ironsocket::kMaxPlaintext);
      records.push_back({record.type, Bytes(record.content.begin(), record.content.end())});
      Follow(record);
    }
  }

  void Follow(const ironsocket::OpenedRecord& record) {
    using ironsocket::Verdict;
    const ironsocket::Judgement judgement = Judge(rx_.keys.version, record, &state_);
    Require(state_.key_updates <= ironsocket::kMaxKeyUpdates + 1);
    Require(state_.hello_left <= ironsocket::kMaxClientHello);
    switch (judgement.verdict) {
      case Verdict::kData:
        Require(!record.content.empty());
        data.insert(data.end(), record.content.begin(), record.content.end());
        return;
      case Verdict::kKeyUpdate:
      case Verdict::kKeyUpdateRequested:
        Require(rx_.keys.version == ironsocket::TlsVersion::kTls13);
        return Require(Thread().receiver.NextKeys(rx_, pair_.ours.get()) == 0);
      case Verdict::kIgnore:
        return;
      case Verdict::kNoRenegotiation:
        return Require(rx_.keys.version == ironsocket::TlsVersion::kTls12);
      case Verdict::kFault:
        Require(judgement.alert != ironsocket::Alert::kNone);
        alert = judgement.alert;
        [[fallthrough]];
      case Verdict::kCloseNotify:
      case Verdict::kPeerAlert:
        ended = true;
    }
  }

  size_t Discard(const Pace& pace) {
    const ssize_t gone = Thread().receiver.Discard(rx_, pair_.ours.get(), pace.limit);
    Require(gone > 0);
    return static_cast<size_t>(gone);
  }

  SocketPair pair_{SOCK_STREAM | SOCK_NONBLOCK};
  ironsocket::Receiving rx_;
  ironsocket::PostHandshakeState state_;
};
