// SPDX-License-Identifier: MIT
#include "record/post_handshake.h"

#include <algorithm>

namespace ironsocket {
namespace {

Judgement Fault(Alert alert) { return {Verdict::kFault, alert}; }

Judgement JudgeAlert(TlsVersion version, std::span<const uint8_t> content,
                     PostHandshakeState* state) {
  // Exactly one alert a record (RFC 8446 section 5.1); OpenSSL answers others the same way.
  if (content.size() != 2) return Fault(Alert::kUnexpectedMessage);
  const Alert alert = static_cast<Alert>(content[1]);
  // In TLS 1.3 the level means nothing (RFC 8446 section 6).
  if (version == TlsVersion::kTls12 && content[0] != kAlertWarning && content[0] != kAlertFatal) {
    return Fault(Alert::kIllegalParameter);
  }
  if (alert == Alert::kCloseNotify) return {Verdict::kCloseNotify};
  const bool warning =
      version == TlsVersion::kTls13 ? alert == Alert::kUserCanceled : content[0] == kAlertWarning;
  if (!warning) return {Verdict::kPeerAlert, alert};
  if (++state->warning_alerts > kMaxWarningAlerts) return Fault(Alert::kUnexpectedMessage);
  return {Verdict::kIgnore};
}

Judgement JudgeHandshake13(std::span<const uint8_t> content, PostHandshakeState* state) {
  // The only message a client may send here is KeyUpdate: no post-handshake authentication was
  // offered.
  if (content[0] != kKeyUpdate) return Fault(Alert::kUnexpectedMessage);
  // It changes keys, so it must end its record (RFC 8446 section 5.1). A fragment has no honest use
  // and the kernel can't follow it; both engines refuse it.
  if (content.size() < 4) return Fault(Alert::kUnexpectedMessage);
  if (content[1] != 0 || content[2] != 0 || content[3] != 1) return Fault(Alert::kDecodeError);
  if (content.size() != kKeyUpdateLength) return Fault(Alert::kUnexpectedMessage);
  if (content[4] > 1) return Fault(Alert::kIllegalParameter);
  if (++state->key_updates > kMaxKeyUpdates) return Fault(Alert::kUnexpectedMessage);
  return {content[4] == 1 ? Verdict::kKeyUpdateRequested : Verdict::kKeyUpdate};
}

// A ClientHello is a wish to renegotiate: refused once with a warning (RFC 5246 section 7.2.2), the
// second ends the session. It may span records; what follows the first is skipped.
Judgement JudgeHandshake12(std::span<const uint8_t> content, PostHandshakeState* state) {
  if (state->hello_left > 0) {
    if (content.size() > state->hello_left) return Fault(Alert::kUnexpectedMessage);
    state->hello_left -= static_cast<uint32_t>(content.size());
    return {Verdict::kIgnore};
  }
  if (content[0] != kClientHello || content.size() < 4) return Fault(Alert::kUnexpectedMessage);
  const uint32_t length =
      static_cast<uint32_t>(content[1]) << 16 | static_cast<uint32_t>(content[2]) << 8 | content[3];
  if (length > kMaxClientHello) return Fault(Alert::kIllegalParameter);
  const uint32_t here = static_cast<uint32_t>(content.size()) - 4;
  if (here > length) return Fault(Alert::kUnexpectedMessage);
  if (++state->renegotiations > kMaxRenegotiations) return Fault(Alert::kUnexpectedMessage);
  state->hello_left = length - here;
  return {Verdict::kNoRenegotiation};
}

}  // namespace

Judgement Judge(TlsVersion version, const OpenedRecord& record, PostHandshakeState* state) {
  // A handshake message must not be interleaved with other records (RFC 8446 section 5.1).
  if (state->hello_left > 0 && record.type != ContentType::kHandshake) {
    return Fault(Alert::kUnexpectedMessage);
  }
  switch (record.type) {
    case ContentType::kApplicationData:
      if (record.content.empty()) {
        if (++state->empty_records > kMaxEmptyRecords) return Fault(Alert::kUnexpectedMessage);
        return {Verdict::kIgnore};
      }
      state->OnData();
      return {Verdict::kData};
    case ContentType::kAlert:
      return JudgeAlert(version, record.content, state);
    case ContentType::kHandshake:
      // RFC 8446 section 5.1; the kernel passes it on.
      if (record.content.empty()) return Fault(Alert::kUnexpectedMessage);
      return version == TlsVersion::kTls13 ? JudgeHandshake13(record.content, state)
                                           : JudgeHandshake12(record.content, state);
    case ContentType::kChangeCipherSpec:
      break;
  }
  return Fault(Alert::kUnexpectedMessage);
}

void WriteKeyUpdate(bool request_update, std::span<uint8_t, kKeyUpdateLength> out) {
  const uint8_t message[kKeyUpdateLength] = {kKeyUpdate, 0, 0, 1, request_update};
  std::copy(std::begin(message), std::end(message), out.begin());
}

}  // namespace ironsocket
