// SPDX-License-Identifier: MIT
#include "record/record.h"

#include <cstring>

namespace ironsocket {
namespace {

void Put64(uint8_t* out, uint64_t value) {
  for (int i = 7; i >= 0; --i, value >>= 8) out[i] = static_cast<uint8_t>(value);
}

void Put16(uint8_t* out, size_t value) {
  out[0] = static_cast<uint8_t>(value >> 8);
  out[1] = static_cast<uint8_t>(value);
}

// RFC 8446 section 5.3 and RFC 7905 section 2: the IV with the sequence number XORed into its end.
// RFC 5288 section 3: salt, then the explicit part.
void MakeNonce(const TrafficKeys& keys, const uint8_t* explicit_nonce,
               uint8_t (&nonce)[kIvLength]) {
  if (explicit_nonce) {
    std::memcpy(nonce, keys.iv, 4);
    std::memcpy(nonce + 4, explicit_nonce, kExplicitNonceLength);
    return;
  }
  uint8_t sequence[8];
  Put64(sequence, keys.sequence);
  std::memcpy(nonce, keys.iv, kIvLength);
  for (size_t i = 0; i < 8; ++i) nonce[4 + i] ^= sequence[i];
}

// RFC 5246 section 6.2.3.3: sequence, type, version, length of the plaintext.
struct AdditionalData12 {
  uint8_t bytes[13];
  AdditionalData12(uint64_t sequence, uint8_t type, size_t length) {
    Put64(bytes, sequence);
    bytes[8] = type;
    Put16(bytes + 9, kRecordVersion);
    Put16(bytes + 11, length);
  }
};

Alert Open13(Aead& aead, TrafficKeys& keys, std::span<uint8_t> record, OpenedRecord* out) {
  uint8_t nonce[kIvLength];
  MakeNonce(keys, nullptr, nonce);
  const std::span<uint8_t> text =
      record.subspan(kHeaderLength, record.size() - kHeaderLength - kTagLength);
  if (!aead.Open(keys, nonce, record.first(kHeaderLength), text)) return Alert::kBadRecordMac;
  // The whole inner plaintext, padding included, may take 2^14 + 1 bytes (RFC 8446 section 5.4).
  if (text.size() > kMaxPlaintext + 1) return Alert::kRecordOverflow;
  size_t end = text.size();
  while (end > 0 && text[end - 1] == 0) --end;
  if (end == 0) return Alert::kUnexpectedMessage;
  const uint8_t type = text[end - 1];
  if (type < 21 || type > 23) return Alert::kUnexpectedMessage;
  *out = {static_cast<ContentType>(type), text.first(end - 1), record.size()};
  return Alert::kNone;
}

Alert Open12(Aead& aead, TrafficKeys& keys, std::span<uint8_t> record, OpenedRecord* out) {
  const size_t prefix = keys.prefix();
  uint8_t nonce[kIvLength];
  MakeNonce(keys, keys.explicit_nonces() ? record.data() + kHeaderLength : nullptr, nonce);
  const std::span<uint8_t> text = record.subspan(prefix, record.size() - prefix - kTagLength);
  const AdditionalData12 additional_data(keys.sequence, record[0], text.size());
  if (!aead.Open(keys, nonce, additional_data.bytes, text)) return Alert::kBadRecordMac;
  if (text.size() > kMaxPlaintext) return Alert::kRecordOverflow;
  *out = {static_cast<ContentType>(record[0]), text, record.size()};
  return Alert::kNone;
}

}  // namespace

Alert ParseHeader(const TrafficKeys& keys, std::span<const uint8_t, kHeaderLength> header,
                  size_t* record_length) {
  const bool tls13 = keys.version == TlsVersion::kTls13;
  const uint8_t type = header[0];
  const size_t length = static_cast<size_t>(header[3]) << 8 | header[4];
  if (tls13 ? type != 23 : type < 20 || type > 23) return Alert::kUnexpectedMessage;
  if (header[1] != kRecordVersion >> 8 || header[2] != (kRecordVersion & 0xff)) {
    return tls13 ? Alert::kDecodeError : Alert::kProtocolVersion;
  }
  if (length > (tls13 ? kMaxCiphertext13 : kMaxCiphertext12)) return Alert::kRecordOverflow;
  if (kHeaderLength + length < keys.prefix() + keys.suffix()) return Alert::kBadRecordMac;
  *record_length = kHeaderLength + length;
  return Alert::kNone;
}

Alert OpenRecord(Aead& aead, TrafficKeys& keys, std::span<uint8_t> record, OpenedRecord* out) {
  if (keys.sequence == UINT64_MAX) return Alert::kInternalError;
  const Alert alert = keys.version == TlsVersion::kTls13 ? Open13(aead, keys, record, out)
                                                         : Open12(aead, keys, record, out);
  if (alert != Alert::kNone) return alert;
  ++keys.sequence;
  // RFC 8446 section 5.1, RFC 5246 section 6.2.1: only application data may be empty.
  if (out->content.empty() && out->type != ContentType::kApplicationData) {
    return Alert::kUnexpectedMessage;
  }
  return Alert::kNone;
}

size_t SealRecord(Aead& aead, TrafficKeys& keys, ContentType type, uint8_t* record, size_t length) {
  if (keys.sequence == UINT64_MAX) return 0;
  const size_t total = keys.prefix() + length + keys.suffix();
  const bool tls13 = keys.version == TlsVersion::kTls13;
  uint8_t* content = record + keys.prefix();
  record[0] = static_cast<uint8_t>(tls13 ? ContentType::kApplicationData : type);
  Put16(record + 1, kRecordVersion);
  Put16(record + 3, total - kHeaderLength);
  uint8_t nonce[kIvLength];
  bool sealed = false;
  if (tls13) {
    content[length] = static_cast<uint8_t>(type);
    MakeNonce(keys, nullptr, nonce);
    sealed = aead.Seal(keys, nonce, {record, kHeaderLength}, {content, length + 1});
  } else {
    uint8_t* explicit_nonce = nullptr;
    if (keys.explicit_nonces()) {
      explicit_nonce = record + kHeaderLength;
      Put64(explicit_nonce, keys.explicit_nonce++);
    }
    MakeNonce(keys, explicit_nonce, nonce);
    const AdditionalData12 additional_data(keys.sequence, record[0], length);
    sealed = aead.Seal(keys, nonce, additional_data.bytes, {content, length});
  }
  if (!sealed) return 0;
  ++keys.sequence;
  return total;
}

}  // namespace ironsocket
