// SPDX-License-Identifier: MIT
// Numbers and names of TLS 1.2 and 1.3 that the record engines need (RFC 8446, RFC 5246,
// linux/tls.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ironsocket {

// ProtocolVersion as negotiated. In TLS 1.3 records still say 0x0303 (RFC 8446 section 5.1).
enum class TlsVersion : uint16_t { kTls12 = 0x0303, kTls13 = 0x0304 };
inline constexpr uint16_t kRecordVersion = 0x0303;

// "TLSv1.3" or "TLSv1.2", the names that OpenSSL and the PROXY protocol use.
std::string_view VersionName(TlsVersion version);

enum class ContentType : uint8_t {
  kChangeCipherSpec = 20,
  kAlert = 21,
  kHandshake = 22,
  kApplicationData = 23,
};

// AlertDescription (RFC 8446 section 6). kNone is not on the wire: "no alert".
enum class Alert : uint8_t {
  kCloseNotify = 0,
  kUnexpectedMessage = 10,
  kBadRecordMac = 20,
  kRecordOverflow = 22,
  kIllegalParameter = 47,
  kDecodeError = 50,
  kProtocolVersion = 70,
  kInternalError = 80,
  kUserCanceled = 90,
  kNoRenegotiation = 100,
  kNone = 255,
};

// "bad_record_mac" and so on; "unknown" for a number without a name here.
std::string_view AlertName(Alert alert);

enum AlertLevel : uint8_t { kAlertWarning = 1, kAlertFatal = 2 };

// Handshake types that a client may be heard to send after the handshake.
inline constexpr uint8_t kClientHello = 1;
inline constexpr uint8_t kKeyUpdate = 24;

// The AEAD of a session; the values are those of linux/tls.h (TLS_CIPHER_AES_GCM_128 ...), which
// the kernel engine needs.
enum class CipherType : uint16_t {
  kAes128Gcm = 51,
  kAes256Gcm = 52,
  kAes128Ccm = 53,
  kChacha20Poly1305 = 54,
};

inline constexpr size_t kHeaderLength = 5;
inline constexpr size_t kTagLength = 16;           // every AEAD here
inline constexpr size_t kExplicitNonceLength = 8;  // TLS 1.2 GCM and CCM (RFC 5288, RFC 6655)
inline constexpr size_t kMaxPlaintext = 1 << 14;   // RFC 8446 section 5.1
inline constexpr size_t kMaxCiphertext13 = kMaxPlaintext + 256;   // RFC 8446 section 5.2
inline constexpr size_t kMaxCiphertext12 = kMaxPlaintext + 2048;  // RFC 5246 section 6.2.3
inline constexpr size_t kMaxRecord = kHeaderLength + kMaxCiphertext12;
inline constexpr size_t kMaxKeyLength = 32;
inline constexpr size_t kIvLength = 12;
inline constexpr size_t kMaxSecretLength = 48;  // SHA-384

struct Cipher {
  CipherType type;
  const char* evp_name;  // for EVP_CIPHER_fetch
  uint8_t key_length;
  bool explicit_nonce;    // in TLS 1.2 each record carries 8 bytes of nonce
  uint64_t record_limit;  // records under one key before a KeyUpdate is due (RFC 8446 section 5.5)
};

const Cipher& CipherOf(CipherType type);

// A cipher suite that ironsocket negotiates.
struct Suite {
  uint16_t id;               // IANA
  const char* name;          // IANA
  const char* openssl_name;  // what SSL_CTX_set_cipher_list or set_ciphersuites takes
  TlsVersion version;
  CipherType cipher;
  uint8_t hash_length;  // 32: SHA-256, 48: SHA-384
  bool by_default;
};

// nullptr where the suite is not one of ours.
const Suite* SuiteById(uint16_t id);
const Suite* SuiteByName(std::string_view name);
// All of them, in order of preference.
const Suite* Suites(size_t* count);

}  // namespace ironsocket
