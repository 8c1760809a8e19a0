// SPDX-License-Identifier: MIT
// The record engine's interface, one object per thread, direction and kind (userspace.h, kernel.h);
// a session lends it the state of that direction for the length of a call. What a direction is in
// between calls is plain data: keys and blocks of bytes.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "loop/buffer_pool.h"
#include "record/offload.h"
#include "record/record.h"
#include "record/traffic_keys.h"

namespace ironsocket {

enum class EngineKind : uint8_t { kUserspace, kKernel };

// Client to us.
struct Receiving {
  TrafficKeys keys;
  Block partial;  // userspace: bytes on the wire that were read and are not opened yet
  EngineKind engine = EngineKind::kUserspace;
  NotOffloaded why = NotOffloaded::kConfigured;  // the kernel does not carry it

  // Kernel. What is wrong with the client's records is told once, to whatever call on the socket
  // comes first, a send too. It is kept here until Fill has read what stands before it.
  Alert fault = Alert::kNone;
  int error = 0;  // the same of what is wrong with the connection
  bool suspect =
      false;           // splice said EINVAL: a control record or a bad version, the next read tells
  bool stuck = false;  // a fault was reached: nothing can be read any more
  bool keys_owed = false;  // `keys` are ahead of the kernel's, which was short of memory
  bool quiet = false;      // nothing has come since a read found nothing
  uint32_t unsampled = 0;  // bytes since keys.sequence was read, and guessed from then on
};

// A record that is no application data, made and not yet accepted by the kernel engine's socket.
struct PendingControl {
  ContentType type;
  uint8_t length;      // 0: a KeyUpdate that was accepted, whose new keys are still to go in
  uint8_t content[5];  // an alert or a KeyUpdate
};

// Us to the client.
struct Sending {
  TrafficKeys keys;
  Block unsent;  // not yet accepted by the socket; userspace: sealed, kernel: content
  uint16_t max_content =
      kMaxPlaintext;  // bytes of content a record may hold (RFC 6066 max_fragment_length)
  EngineKind engine = EngineKind::kUserspace;
  NotOffloaded why = NotOffloaded::kConfigured;
  // Kernel, behind `unsent`: a KeyUpdate or a refused renegotiation, then what ends the session.
  uint8_t control_count = 0;
  // Userspace: what is sent from now on may wait for our FIN, which comes at once (MSG_MORE).
  bool fin_follows = false;
  PendingControl controls[2];
  // Kernel: what it was given, to tell when TCP has all of it (KernelSender::Drained).
  uint64_t wire_base = 0;  // bytes that TCP had been given when the keys went in
  uint64_t content = 0;    // bytes of content since
  uint64_t records_before =
      0;                   // records of earlier generations, less those before the keys went in
  uint32_t unsampled = 0;  // as in Receiving

  bool pending() const { return !unsent.empty() || control_count > 0; }
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

  // Whether a Fill that brings less than was asked for has emptied the socket (epoll(7),
  // edge-triggered). If not, only -EAGAIN says so.
  virtual bool ShortMeansEmpty() const = 0;

  // The client's KeyUpdate was read: what follows is under the next generation of keys. 0 or
  // -errno; -EOPNOTSUPP: this engine can't, so the session can't go on.
  virtual int NextKeys(Receiving& rx, int fd) = 0;

  // Reads and throws away at most `limit` bytes of a client that has ended. As Fill, and -EBADMSG
  // once: what comes next can't be read, ever.
  virtual ssize_t Discard(Receiving& rx, int fd, size_t limit) = 0;

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

  // Makes a KeyUpdate, behind which `tx.keys` are those of the next generation. There must be
  // nothing unsent. 0 or -errno; -EOPNOTSUPP: this engine can't, and nothing has changed.
  virtual int SealKeyUpdate(Sending& tx, bool request_update) = 0;

  // Sends what is sealed; what the socket does not take stays with the session, whatever the error.
  // 0: all is sent; -EAGAIN or a shortage (net/shortage.h): not for the moment; other -errno: the
  // connection is dead, unless it was a fault that KernelReceiver::TakeFault knows.
  virtual int Flush(Sending& tx, int fd) = 0;

  // After Flush has sent all: whether TCP has it too, so that a FIN comes behind it.
  virtual bool Drained(Sending& tx, int fd) = 0;

  virtual void Forget(Sending& tx) = 0;
};

}  // namespace ironsocket
