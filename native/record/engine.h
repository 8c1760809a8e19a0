// SPDX-License-Identifier: MIT
// The record engine's interface, one object per thread and direction; a session lends it the state
// of that direction for the length of a call. What a direction is in between calls is plain data:
// keys and blocks of bytes.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "loop/buffer_pool.h"
#include "record/record.h"
#include "record/traffic_keys.h"

namespace ironsocket {

enum class EngineKind : uint8_t { kUserspace, kKernel };

// Client to us.
struct Receiving {
  TrafficKeys keys;
  Block partial;  // bytes on the wire that were read and are not opened yet
};

// Us to the client.
struct Sending {
  TrafficKeys keys;
  Block unsent;  // sealed, not yet accepted by the socket
  uint16_t max_content =
      kMaxPlaintext;  // bytes of content a record may hold (RFC 6066 max_fragment_length)
};

class RecordReceiver {
 public:
  enum class Next : uint8_t { kRecord, kMore, kFault };

  virtual ~RecordReceiver() = default;

  // Reads what `fd` has, at most `limit` bytes. Returns the bytes read, 0 at the end of the stream,
  // -errno; -EALREADY when a whole record was still waiting and the socket was not asked. In every
  // case records may be ready: call NextRecord until it says otherwise.
  virtual ssize_t Fill(Receiving& rx, int fd, size_t limit) = 0;

  // Whether a whole record is waiting among the bytes that were kept.
  virtual bool Ready(const Receiving& rx) const = 0;

  // Opens the next record. kFault: `*alert` says what the client did. `*record` is valid until the
  // next Fill.
  virtual Next NextRecord(Receiving& rx, OpenedRecord* record, Alert* alert) = 0;

  // Keeps what was read and not opened with the session. Always follows a Fill, before any other
  // session's.
  virtual void Park(Receiving& rx) = 0;

  // The session is over, or its keys are: wipes what the thread still holds of them.
  virtual void Forget(Receiving& rx) = 0;
};

class RecordSender {
 public:
  static constexpr size_t kMaxPieces = 16;

  virtual ~RecordSender() = default;

  // Where the content of the next records is to be put: fills `pieces`, in order, for at most
  // `limit` bytes. There must be nothing unsent.
  virtual size_t Room(Sending& tx, size_t limit, std::span<iovec, kMaxPieces> pieces) = 0;

  // Makes records of application data out of the first `length` bytes of Room's pieces. False: the
  // keys can seal no more.
  virtual bool Seal(Sending& tx, size_t length) = 0;

  // Makes a record of another type behind everything that is unsent. False: no memory, or the keys
  // can seal no more.
  virtual bool SealControl(Sending& tx, ContentType type, std::span<const uint8_t> content) = 0;

  // Sends what is sealed; what the socket does not take stays with the session. 0: all is sent;
  // -EAGAIN or a shortage (net/shortage.h): some is left; other -errno: the connection is dead.
  virtual int Flush(Sending& tx, int fd) = 0;

  virtual void Forget(Sending& tx) = 0;
};

}  // namespace ironsocket
