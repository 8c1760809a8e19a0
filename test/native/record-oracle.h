// SPDX-License-Identifier: MIT
// Keys for tests, and a second way to derive, seal and open: written from the RFCs with one-shot
// calls of OpenSSL, so that the code under test is never checked against itself.
#pragma once

#include <doctest/doctest.h>
#include <openssl/evp.h>

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "record/record.h"
#include "record/traffic_keys.h"

using Bytes = std::vector<uint8_t>;

inline constexpr uint16_t kSuites13[] = {0x1301, 0x1302, 0x1303, 0x1304};
inline constexpr uint16_t kSuites12[] = {0xC02B, 0xC02C, 0xCCA9, 0xC0AC};
inline constexpr uint16_t kEverySuite[] = {0x1301, 0x1302, 0x1303, 0x1304,
                                           0xC02B, 0xC02C, 0xCCA9, 0xC0AC};

inline Bytes FromHex(std::string_view text) {
  Bytes bytes;
  int digits = 0, value = 0;
  for (char c : text) {
    if (c == ' ' || c == '\n') continue;
    value = value << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    if (++digits % 2 == 0) bytes.push_back(static_cast<uint8_t>(value));
  }
  return bytes;
}

// Bytes that differ from place to place and from seed to seed.
inline Bytes Pattern(size_t size, uint32_t seed = 1) {
  Bytes bytes(size);
  uint32_t state = seed * 2654435761u + 1;
  for (uint8_t& byte : bytes)
    byte = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

inline Bytes Concat(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  Bytes all(a.begin(), a.end());
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

inline Bytes BigEndian64(uint64_t value) {
  Bytes bytes(8);
  for (size_t i = 0; i < 8; i++) bytes[i] = static_cast<uint8_t>(value >> (56 - 8 * i));
  return bytes;
}

// What a client writes with (or a server, of the other seed).
inline ironsocket::TrafficKeys KeysOf(uint16_t suite_id, uint32_t seed = 1) {
  const ironsocket::Suite* suite = ironsocket::SuiteById(suite_id);
  REQUIRE(suite != nullptr);
  ironsocket::TrafficKeys keys, other;
  if (suite->version == ironsocket::TlsVersion::kTls13) {
    REQUIRE(KeysFromTrafficSecret(*suite, Pattern(suite->hash_length, seed), &keys));
  } else {
    Bytes randoms = Pattern(64, seed);
    std::span<const uint8_t, 64> both(randoms.data(), 64);
    REQUIRE(KeysFromMasterSecret(*suite, Pattern(48, seed), both.first<32>(), both.last<32>(),
                                 &keys, &other));
  }
  return keys;
}

// The same bytes in another place: what a handoff does.
inline ironsocket::TrafficKeys Twin(const ironsocket::TrafficKeys& keys) {
  ironsocket::TrafficKeys twin;
  std::memcpy(static_cast<void*>(&twin), &keys, sizeof twin);
  return twin;
}

// HMAC-based, RFC 5869 section 2.3 and RFC 8446 section 7.1.
inline Bytes OracleExpandLabel(const char* digest, const Bytes& secret, std::string_view label,
                               size_t length) {
  Bytes info = {0, static_cast<uint8_t>(length), static_cast<uint8_t>(6 + label.size())};
  for (char c : "tls13 " + std::string(label)) info.push_back(static_cast<uint8_t>(c));
  info.push_back(0);
  Bytes out, block;
  for (uint8_t i = 1; out.size() < length; i++) {
    Bytes input = Concat(block, info);
    input.push_back(i);
    block.resize(64);
    size_t size = 0;
    EVP_Q_mac(nullptr, "HMAC", nullptr, digest, nullptr, secret.data(), secret.size(), input.data(),
              input.size(), block.data(), block.size(), &size);
    block.resize(size);
    out.insert(out.end(), block.begin(), block.end());
  }
  out.resize(length);
  return out;
}

// One AEAD operation in a context of its own. Sealing appends the tag, opening expects it; empty
// when it fails.
inline Bytes OracleAead(const ironsocket::TrafficKeys& keys, const Bytes& nonce, const Bytes& aad,
                        const Bytes& input, bool seal) {
  using ironsocket::kTagLength;
  std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(EVP_CIPHER_CTX_new(),
                                                                          EVP_CIPHER_CTX_free);
  EVP_CIPHER* cipher =
      EVP_CIPHER_fetch(nullptr, ironsocket::CipherOf(keys.cipher).evp_name, nullptr);
  const bool ccm = keys.cipher == ironsocket::CipherType::kAes128Ccm;
  const size_t size = seal ? input.size() : input.size() - kTagLength;
  Bytes tag(kTagLength), out(size + kTagLength);
  if (!seal) std::memcpy(tag.data(), input.data() + size, kTagLength);
  int length = 0, count = static_cast<int>(size);
  EVP_CipherInit_ex2(context.get(), cipher, nullptr, nullptr, seal, nullptr);
  EVP_CIPHER_free(cipher);
  EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_IVLEN, 12, nullptr);
  if (!seal || ccm) {
    EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kTagLength,
                        seal ? nullptr : tag.data());
  }
  EVP_CipherInit_ex2(context.get(), nullptr, keys.key, nonce.data(), seal, nullptr);
  if (ccm) EVP_CipherUpdate(context.get(), nullptr, &length, nullptr, count);
  EVP_CipherUpdate(context.get(), nullptr, &length, aad.data(), static_cast<int>(aad.size()));
  // Not nullptr, which means something else to EVP.
  const uint8_t* text = input.empty() ? out.data() : input.data();
  const bool done =
      (count == 0 && !ccm) || EVP_CipherUpdate(context.get(), out.data(), &length, text, count) > 0;
  if (!done ||
      ((seal || !ccm) && EVP_CipherFinal_ex(context.get(), out.data() + size, &length) <= 0))
    return {};
  if (!seal) return Bytes(out.begin(), out.begin() + static_cast<ptrdiff_t>(size));
  EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kTagLength, out.data() + size);
  return out;
}

// A record of any kind, honest or not, under `keys` at their sequence number: `inner` is sealed as
// it stands (TLS 1.3: content, type, padding; TLS 1.2: content).
inline Bytes Forge(const ironsocket::TrafficKeys& keys, uint8_t outer_type, const Bytes& inner,
                   uint64_t explicit_nonce = 0) {
  const bool tls13 = keys.version == ironsocket::TlsVersion::kTls13;
  const bool salted = !tls13 && keys.cipher != ironsocket::CipherType::kChacha20Poly1305;
  const Bytes wire_nonce = salted ? BigEndian64(explicit_nonce) : Bytes();
  const size_t length = wire_nonce.size() + inner.size() + ironsocket::kTagLength;
  Bytes header = {outer_type, 3, 3, static_cast<uint8_t>(length >> 8),
                  static_cast<uint8_t>(length)};
  Bytes nonce(keys.iv, keys.iv + 12);
  const Bytes counter = BigEndian64(salted ? explicit_nonce : keys.sequence);
  for (size_t i = 0; i < 8; i++) {
    nonce[4 + i] = salted ? counter[i] : static_cast<uint8_t>(nonce[4 + i] ^ counter[i]);
  }
  Bytes aad = header;
  if (!tls13) {
    aad = Concat(BigEndian64(keys.sequence),
                 Bytes{outer_type, 3, 3, static_cast<uint8_t>(inner.size() >> 8),
                       static_cast<uint8_t>(inner.size())});
  }
  return Concat(Concat(header, wire_nonce), OracleAead(keys, nonce, aad, inner, true));
}

// An honest record of `content`; counts it.
inline Bytes ForgeNext(ironsocket::TrafficKeys& keys, ironsocket::ContentType type,
                       const Bytes& content) {
  const auto number = static_cast<uint8_t>(type);
  const bool tls13 = keys.version == ironsocket::TlsVersion::kTls13;
  Bytes record = Forge(keys, tls13 ? 23 : number, tls13 ? Concat(content, Bytes{number}) : content,
                       0x1122334455667788 + keys.sequence);
  keys.sequence++;
  return record;
}

// A record as OpenRecord gives it, of a content that stays where it is.
inline ironsocket::OpenedRecord Opened(ironsocket::ContentType type, std::span<uint8_t> content) {
  ironsocket::OpenedRecord record{};
  record.type = type;
  record.content = content;
  return record;
}

// What one record came to, by way of ParseHeader and OpenRecord.
struct OpenResult {
  ironsocket::Alert alert = ironsocket::Alert::kNone;
  ironsocket::ContentType type{};
  Bytes content;
};

inline OpenResult OpenOne(ironsocket::Aead& aead, ironsocket::TrafficKeys& keys, Bytes record) {
  OpenResult result;
  size_t length = 0;
  std::span<const uint8_t, 5> header(record.data(), 5);
  result.alert = ParseHeader(keys, header, &length);
  if (result.alert != ironsocket::Alert::kNone) return result;
  REQUIRE(length == record.size());
  ironsocket::OpenedRecord opened{};
  result.alert = OpenRecord(aead, keys, record, &opened);
  if (result.alert != ironsocket::Alert::kNone) return result;
  CHECK(opened.wire_length == record.size());
  result.type = opened.type;
  result.content.assign(opened.content.begin(), opened.content.end());
  return result;
}
