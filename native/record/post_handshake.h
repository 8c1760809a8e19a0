// SPDX-License-Identifier: MIT
// What TLS still asks once the handshake is done: alerts, KeyUpdate, refused renegotiation, limits
// against floods. Pure decisions on opened records; both record engines ask the same questions
// here. RFC 8446 sections 4.6.3, 6 and D.4; RFC 5246 sections 7.2 and 7.4.1.
#pragma once

#include <cstdint>
#include <span>

#include "record/record.h"
#include "record/tls.h"

namespace ironsocket {

// Limits of docs/design.md. Counted without application data in between, but for renegotiation.
inline constexpr uint8_t kMaxKeyUpdates = 32;
inline constexpr uint8_t kMaxEmptyRecords = 32;
inline constexpr uint8_t kMaxWarningAlerts = 4;
inline constexpr uint8_t kMaxRenegotiations = 1;
inline constexpr uint32_t kMaxClientHello = 128 * 1024;  // bytes

// Flood counters of a session: plain data, travels with it.
struct PostHandshakeState {
  uint8_t key_updates = 0;
  uint8_t empty_records = 0;
  uint8_t warning_alerts = 0;
  uint8_t renegotiations = 0;
  uint32_t hello_left = 0;  // TLS 1.2: bytes of a refused ClientHello that are still to come

  // Application data came: what is counted without any in between begins anew.
  void OnData() { key_updates = empty_records = warning_alerts = 0; }
};

enum class Verdict : uint8_t {
  kData,                // application data, at least one byte
  kIgnore,              // nothing to do
  kCloseNotify,         // the client is done sending
  kKeyUpdate,           // the receiving keys move to the next generation now
  kKeyUpdateRequested,  // the same, and the sending keys after a KeyUpdate of ours
  kNoRenegotiation,     // send the warning alert no_renegotiation and go on
  kPeerAlert,           // the client sent a fatal alert (`alert` says which): the session is over
  kFault,               // the client broke the protocol: send `alert`, the session is over
};

struct Judgement {
  Verdict verdict;
  Alert alert = Alert::kNone;
};

Judgement Judge(TlsVersion version, const OpenedRecord& record, PostHandshakeState* state);

// The 5 bytes of a KeyUpdate message.
inline constexpr size_t kKeyUpdateLength = 5;
void WriteKeyUpdate(bool request_update, std::span<uint8_t, kKeyUpdateLength> out);

}  // namespace ironsocket
