// SPDX-License-Identifier: MIT
#include "record/aead.h"

namespace ironsocket {

Aead::~Aead() {
  for (Slot& slot : slots_) EVP_CIPHER_CTX_free(slot.context);
  for (EVP_CIPHER* cipher : ciphers_) EVP_CIPHER_free(cipher);
}

EVP_CIPHER_CTX* Aead::ContextFor(const TrafficKeys& keys, bool seal) {
  Slot& slot = slots_[keys.id % kSlots];
  if (slot.key_id == keys.id && slot.sealing == seal) return slot.context;
  slot.key_id = 0;
  if (!slot.context && !(slot.context = EVP_CIPHER_CTX_new())) return nullptr;
  EVP_CIPHER*& cipher =
      ciphers_[static_cast<size_t>(keys.cipher) - static_cast<size_t>(CipherType::kAes128Gcm)];
  if (!cipher) cipher = EVP_CIPHER_fetch(nullptr, CipherOf(keys.cipher).evp_name, nullptr);
  if (!cipher) return nullptr;
  // CCM wants IV and tag length before the key (EVP_EncryptInit(3), "CCM Mode").
  if (keys.cipher == CipherType::kAes128Ccm) {
    if (EVP_CipherInit_ex2(slot.context, cipher, nullptr, nullptr, seal, nullptr) <= 0 ||
        EVP_CIPHER_CTX_ctrl(slot.context, EVP_CTRL_AEAD_SET_IVLEN, kIvLength, nullptr) <= 0 ||
        EVP_CIPHER_CTX_ctrl(slot.context, EVP_CTRL_AEAD_SET_TAG, kTagLength, nullptr) <= 0 ||
        EVP_CipherInit_ex2(slot.context, nullptr, keys.key, nullptr, seal, nullptr) <= 0) {
      return nullptr;
    }
  } else if (EVP_CipherInit_ex2(slot.context, cipher, keys.key, nullptr, seal, nullptr) <= 0) {
    return nullptr;
  }
  slot.key_id = keys.id;
  slot.sealing = seal;
  return slot.context;
}

bool Aead::Run(EVP_CIPHER_CTX* context, const TrafficKeys& keys,
               std::span<const uint8_t, kIvLength> nonce, std::span<const uint8_t> additional_data,
               std::span<uint8_t> text, bool seal) {
  uint8_t* tag = text.data() + text.size();
  int length = 0;
  const bool ccm = keys.cipher == CipherType::kAes128Ccm;
  // CCM wants the tag before the text, the others before Final.
  if (!seal && ccm && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagLength, tag) <= 0) {
    return false;
  }
  if (EVP_CipherInit_ex2(context, nullptr, nullptr, nonce.data(), seal, nullptr) <= 0) return false;
  const int text_length = static_cast<int>(text.size());
  if (ccm && EVP_CipherUpdate(context, nullptr, &length, nullptr, text_length) <= 0) return false;
  if (EVP_CipherUpdate(context, nullptr, &length, additional_data.data(),
                       static_cast<int>(additional_data.size())) <= 0) {
    return false;
  }
  // An empty text still needs this call in CCM, where it checks the tag.
  if ((ccm || !text.empty()) &&
      EVP_CipherUpdate(context, text.data(), &length, text.data(), text_length) <= 0) {
    return false;
  }
  if (ccm && !seal) return true;
  if (!seal && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagLength, tag) <= 0) {
    return false;
  }
  if (EVP_CipherFinal_ex(context, tag, &length) <= 0) return false;
  return !seal || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagLength, tag) > 0;
}

bool Aead::Seal(const TrafficKeys& keys, std::span<const uint8_t, kIvLength> nonce,
                std::span<const uint8_t> additional_data, std::span<uint8_t> text) {
  EVP_CIPHER_CTX* context = ContextFor(keys, true);
  if (context && Run(context, keys, nonce, additional_data, text, true)) return true;
  Forget(keys.id);
  return false;
}

bool Aead::Open(const TrafficKeys& keys, std::span<const uint8_t, kIvLength> nonce,
                std::span<const uint8_t> additional_data, std::span<uint8_t> text) {
  EVP_CIPHER_CTX* context = ContextFor(keys, false);
  if (context && Run(context, keys, nonce, additional_data, text, false)) return true;
  Forget(keys.id);  // a failed operation leaves the context in no state to go on from
  return false;
}

void Aead::Forget(uint64_t key_id) {
  Slot& slot = slots_[key_id % kSlots];
  if (slot.key_id != key_id || !slot.context) return;
  EVP_CIPHER_CTX_reset(slot.context);
  slot.key_id = 0;
}

}  // namespace ironsocket
