// SPDX-License-Identifier: MIT
// One TLS record: sealing and opening in place, with the checks and alerts that RFC 8446 section 5
// and RFC 5246 section 6.2 ask for.
//
//   TLS 1.3            | type 23 | 03 03 | length | ciphertext of (content, type, zeros) | tag |
//   TLS 1.2 GCM, CCM   | type    | 03 03 | length | explicit nonce | ciphertext | tag |
//   TLS 1.2 ChaCha20   | type    | 03 03 | length | ciphertext | tag |
#pragma once

#include <cstdint>
#include <span>

#include "record/aead.h"
#include "record/traffic_keys.h"

namespace ironsocket {

struct OpenedRecord {
  ContentType type;
  std::span<uint8_t> content;  // inside the buffer that the record was opened in
  size_t wire_length;          // of the whole record, header and padding included
};

// Checks a record header. kNone and the length of the whole record (header included), or the alert
// that it deserves.
Alert ParseHeader(const TrafficKeys& keys, std::span<const uint8_t, kHeaderLength> header,
                  size_t* record_length);

// Opens a whole record whose header passed ParseHeader, in place, and counts it. Anything but kNone
// is fatal: the record is destroyed and none of it may be used.
Alert OpenRecord(Aead& aead, TrafficKeys& keys, std::span<uint8_t> record, OpenedRecord* out);

// Seals `length` bytes of content that stand at `record + keys.prefix()`, writes header and tag
// around them and counts the record. `record` has room for prefix, content and suffix. Returns the
// record's whole length; 0 when the sequence number is used up or OpenSSL fails: nothing may be
// sealed under these keys any more.
size_t SealRecord(Aead& aead, TrafficKeys& keys, ContentType type, uint8_t* record, size_t length);

}  // namespace ironsocket
