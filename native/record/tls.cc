// SPDX-License-Identifier: MIT
#include "record/tls.h"

namespace ironsocket {
namespace {

// AES-GCM may seal 2^24.5 full records under one key; 2^24 leaves a margin. CCM: 2^23 (RFC 9147
// section 4.5.3). ChaCha20-Poly1305 has no limit below the wrap of the sequence number.
constexpr uint64_t kGcmLimit = uint64_t{1} << 24;
constexpr uint64_t kCcmLimit = uint64_t{1} << 23;
constexpr uint64_t kNoLimit = UINT64_MAX;

constexpr Cipher kCiphers[] = {
    {CipherType::kAes128Gcm, "AES-128-GCM", 16, true, kGcmLimit},
    {CipherType::kAes256Gcm, "AES-256-GCM", 32, true, kGcmLimit},
    {CipherType::kAes128Ccm, "AES-128-CCM", 16, true, kCcmLimit},
    {CipherType::kChacha20Poly1305, "ChaCha20-Poly1305", 32, false, kNoLimit},
};

constexpr auto k12 = TlsVersion::kTls12;
constexpr auto k13 = TlsVersion::kTls13;
constexpr auto kG128 = CipherType::kAes128Gcm;
constexpr auto kG256 = CipherType::kAes256Gcm;
constexpr auto kC128 = CipherType::kAes128Ccm;
constexpr auto kChaCha = CipherType::kChacha20Poly1305;

constexpr Suite kSuites[] = {
    {0x1301, "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", k13, kG128, 32, true},
    {0x1302, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", k13, kG256, 48, true},
    {0x1303, "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256", k13, kChaCha, 32,
     true},
    {0x1304, "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_SHA256", k13, kC128, 32, false},
    {0xC02B, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256", k12, kG128,
     32, true},
    {0xC02F, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256", k12, kG128, 32,
     true},
    {0xC02C, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384", k12, kG256,
     48, true},
    {0xC030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384", k12, kG256, 48,
     true},
    {0xCCA9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", k12,
     kChaCha, 32, true},
    {0xCCA8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305", k12,
     kChaCha, 32, true},
    {0xC0AC, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM", "ECDHE-ECDSA-AES128-CCM", k12, kC128, 32, false},
};

}  // namespace

std::string_view AlertName(Alert alert) {
  switch (alert) {
    case Alert::kCloseNotify:
      return "close_notify";
    case Alert::kUnexpectedMessage:
      return "unexpected_message";
    case Alert::kBadRecordMac:
      return "bad_record_mac";
    case Alert::kRecordOverflow:
      return "record_overflow";
    case Alert::kIllegalParameter:
      return "illegal_parameter";
    case Alert::kDecodeError:
      return "decode_error";
    case Alert::kProtocolVersion:
      return "protocol_version";
    case Alert::kInternalError:
      return "internal_error";
    case Alert::kUserCanceled:
      return "user_canceled";
    case Alert::kNoRenegotiation:
      return "no_renegotiation";
    case Alert::kNone:
      return "none";
  }
  return "unknown";
}

std::string_view VersionName(TlsVersion version) {
  return version == TlsVersion::kTls13 ? "TLSv1.3" : "TLSv1.2";
}

const Cipher& CipherOf(CipherType type) {
  return kCiphers[static_cast<size_t>(type) - static_cast<size_t>(CipherType::kAes128Gcm)];
}

const Suite* SuiteById(uint16_t id) {
  for (const Suite& suite : kSuites) {
    if (suite.id == id) return &suite;
  }
  return nullptr;
}

const Suite* SuiteByName(std::string_view name) {
  for (const Suite& suite : kSuites) {
    if (name == suite.name) return &suite;
  }
  return nullptr;
}

const Suite* Suites(size_t* count) {
  *count = sizeof(kSuites) / sizeof(kSuites[0]);
  return kSuites;
}

}  // namespace ironsocket
