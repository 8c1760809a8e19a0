// SPDX-License-Identifier: MIT
// The keys of one direction of a session: what is left of TLS once the handshake is done. Plain
// data without pointers, so that it can be written into a handoff frame and read back; never copied
// by accident, wiped when it dies. RFC 8446 sections 7.2 and 7.3; RFC 5246 section 6.3; RFC 5288,
// RFC 6655 and RFC 7905 for TLS 1.2.
#pragma once

#include <cstdint>
#include <span>

#include "record/tls.h"

namespace ironsocket {

struct TrafficKeys {
  uint64_t id =
      0;  // names this key in the per-thread cipher contexts; new with every key; 0: no key
  uint64_t sequence = 0;        // number of the next record
  uint64_t explicit_nonce = 0;  // TLS 1.2 GCM and CCM, sending: the next record's explicit nonce
  uint32_t generation = 0;      // KeyUpdates so far
  TlsVersion version = TlsVersion::kTls13;
  CipherType cipher = CipherType::kAes128Gcm;
  uint8_t hash_length = 32;
  uint8_t iv[kIvLength] = {};  // TLS 1.2 GCM and CCM use the first 4 bytes (salt)
  uint8_t key[kMaxKeyLength] = {};
  uint8_t secret[kMaxSecretLength] =
      {};  // TLS 1.3: the application traffic secret of this generation

  TrafficKeys() = default;
  ~TrafficKeys();
  TrafficKeys(TrafficKeys&& other) noexcept;             // wipes `other`
  TrafficKeys& operator=(TrafficKeys&& other) noexcept;  // wipes what was here, and `other`

  bool explicit_nonces() const {
    return version == TlsVersion::kTls12 && CipherOf(cipher).explicit_nonce;
  }
  // Bytes in front of the plaintext of a record, header included.
  size_t prefix() const { return kHeaderLength + (explicit_nonces() ? kExplicitNonceLength : 0); }
  // Bytes behind the plaintext: TLS 1.3 puts the content type before the tag.
  size_t suffix() const { return (version == TlsVersion::kTls13 ? 1 : 0) + kTagLength; }
};

// Names a key that came from elsewhere. Never 0, never the same twice; any thread.
uint64_t NewKeyId();

// TLS 1.3: key and IV from a traffic secret of `suite`'s hash length; sequence 0, generation 0.
// False when OpenSSL fails.
bool KeysFromTrafficSecret(const Suite& suite, std::span<const uint8_t> secret, TrafficKeys* keys);

// TLS 1.3 KeyUpdate: the next generation's secret, key and IV; sequence 0. On failure nothing has
// changed.
bool NextGeneration(TrafficKeys* keys);

// TLS 1.2: both directions from the master secret (key expansion). `sequence` is left at 0 and
// `explicit_nonce` at 0: the caller knows what the handshake used up.
bool KeysFromMasterSecret(const Suite& suite, std::span<const uint8_t> master_secret,
                          std::span<const uint8_t, 32> client_random,
                          std::span<const uint8_t, 32> server_random, TrafficKeys* client_write,
                          TrafficKeys* server_write);

}  // namespace ironsocket
