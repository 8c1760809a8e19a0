// SPDX-License-Identifier: MIT
// AEAD on OpenSSL's EVP for the records of one thread. Cipher contexts belong to the thread, not to
// the session: a small cache keeps those in use keyed, any other session's key takes one over (the
// key schedule costs less than a record). Not thread safe.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <span>

#include "record/traffic_keys.h"

namespace ironsocket {

class Aead {
 public:
  Aead() = default;
  ~Aead();
  Aead(const Aead&) = delete;
  Aead& operator=(const Aead&) = delete;

  // Encrypts `text` in place and writes the tag behind it (kTagLength bytes that belong to the
  // caller). False when OpenSSL fails.
  bool Seal(const TrafficKeys& keys, std::span<const uint8_t, kIvLength> nonce,
            std::span<const uint8_t> additional_data, std::span<uint8_t> text);

  // Decrypts `text` in place; its tag stands behind it. False when the tag does not match: the text
  // is then worthless and must not be used.
  bool Open(const TrafficKeys& keys, std::span<const uint8_t, kIvLength> nonce,
            std::span<const uint8_t> additional_data, std::span<uint8_t> text);

  // Wipes the context that a key was in. To be called when a session ends or a key is replaced.
  void Forget(uint64_t key_id);

 private:
  struct Slot {
    EVP_CIPHER_CTX* context = nullptr;
    uint64_t key_id = 0;
    bool sealing = false;
  };
  static constexpr size_t kSlots = 64;

  EVP_CIPHER_CTX* ContextFor(const TrafficKeys& keys, bool seal);
  bool Run(EVP_CIPHER_CTX* context, const TrafficKeys& keys,
           std::span<const uint8_t, kIvLength> nonce, std::span<const uint8_t> additional_data,
           std::span<uint8_t> text, bool seal);

  std::array<Slot, kSlots> slots_{};
  std::array<EVP_CIPHER*, 4> ciphers_{};  // fetched on first use, by CipherType
};

}  // namespace ironsocket
