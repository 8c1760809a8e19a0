// SPDX-License-Identifier: MIT
#include "record/traffic_keys.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <atomic>
#include <cstring>
#include <type_traits>

namespace ironsocket {

uint64_t NewKeyId() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

namespace {

const char* HashName(size_t hash_length) {
  return hash_length == 48 ? OSSL_DIGEST_NAME_SHA2_384 : OSSL_DIGEST_NAME_SHA2_256;
}

OSSL_PARAM Octets(const char* name, std::span<const uint8_t> bytes) {
  return OSSL_PARAM_construct_octet_string(name, const_cast<uint8_t*>(bytes.data()), bytes.size());
}

OSSL_PARAM Text(const char* name, const char* value) {
  return OSSL_PARAM_construct_utf8_string(name, const_cast<char*>(value), 0);
}

// Runs the KDF called `name`. Fetching is cheap: the provider caches the method by name.
bool Derive(const char* name, const OSSL_PARAM* params, std::span<uint8_t> out) {
  EVP_KDF* kdf = EVP_KDF_fetch(nullptr, name, nullptr);
  EVP_KDF_CTX* context = kdf ? EVP_KDF_CTX_new(kdf) : nullptr;
  const bool ok = context && EVP_KDF_derive(context, out.data(), out.size(), params) > 0;
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  return ok;
}

// HKDF-Expand-Label(secret, label, "", out.size()), RFC 8446 section 7.1, as often as wanted, so
// that OpenSSL looks up by name once for a secret and not once for a label.
class Expansion {
 public:
  Expansion(size_t hash_length, std::span<const uint8_t> secret) {
    EVP_KDF* kdf = EVP_KDF_fetch(nullptr, "TLS13-KDF", nullptr);
    context_ = kdf ? EVP_KDF_CTX_new(kdf) : nullptr;
    EVP_KDF_free(kdf);
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    static constexpr uint8_t kPrefix[] = {'t', 'l', 's', '1', '3', ' '};
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        Text(OSSL_KDF_PARAM_DIGEST, HashName(hash_length)), Octets(OSSL_KDF_PARAM_KEY, secret),
        Octets(OSSL_KDF_PARAM_PREFIX, kPrefix), OSSL_PARAM_construct_end()};
    ready_ = context_ && EVP_KDF_CTX_set_params(context_, params) > 0;
  }
  ~Expansion() { EVP_KDF_CTX_free(context_); }
  Expansion(const Expansion&) = delete;
  Expansion& operator=(const Expansion&) = delete;

  bool Label(const char* label, std::span<uint8_t> out) {
    const OSSL_PARAM params[] = {
        Octets(OSSL_KDF_PARAM_LABEL, {reinterpret_cast<const uint8_t*>(label), std::strlen(label)}),
        OSSL_PARAM_construct_end()};
    return ready_ && EVP_KDF_derive(context_, out.data(), out.size(), params) > 0;
  }

 private:
  EVP_KDF_CTX* context_;
  bool ready_;
};

// Key and IV of the secret that is in `keys`.
bool ExpandKeyAndIv(TrafficKeys* keys) {
  Expansion expansion(keys->hash_length, {keys->secret, keys->hash_length});
  if (!expansion.Label("key", {keys->key, CipherOf(keys->cipher).key_length})) return false;
  if (!expansion.Label("iv", {keys->iv, kIvLength})) return false;
  keys->id = NewKeyId();
  keys->sequence = 0;
  return true;
}

void SetSuite(const Suite& suite, TrafficKeys* keys) {
  keys->version = suite.version;
  keys->cipher = suite.cipher;
  keys->hash_length = suite.hash_length;
}

}  // namespace

static_assert(std::is_standard_layout_v<TrafficKeys>);

TrafficKeys::~TrafficKeys() { OPENSSL_cleanse(this, sizeof *this); }

TrafficKeys::TrafficKeys(TrafficKeys&& other) noexcept { *this = std::move(other); }

TrafficKeys& TrafficKeys::operator=(TrafficKeys&& other) noexcept {
  if (this == &other) return *this;
  std::memcpy(static_cast<void*>(this), &other, sizeof *this);
  OPENSSL_cleanse(&other, sizeof other);
  return *this;
}

bool KeysFromTrafficSecret(const Suite& suite, std::span<const uint8_t> secret, TrafficKeys* keys) {
  if (secret.size() != suite.hash_length) return false;
  SetSuite(suite, keys);
  keys->generation = 0;
  std::memcpy(keys->secret, secret.data(), secret.size());
  return ExpandKeyAndIv(keys);
}

bool NextGeneration(TrafficKeys* keys) {
  TrafficKeys next;
  next.version = keys->version;
  next.cipher = keys->cipher;
  next.hash_length = keys->hash_length;
  next.generation = keys->generation + 1;
  Expansion expansion(keys->hash_length, {keys->secret, keys->hash_length});
  if (!expansion.Label("traffic upd", {next.secret, keys->hash_length})) return false;
  if (!ExpandKeyAndIv(&next)) return false;
  *keys = std::move(next);
  return true;
}

bool KeysFromMasterSecret(const Suite& suite, std::span<const uint8_t> master_secret,
                          std::span<const uint8_t, 32> client_random,
                          std::span<const uint8_t, 32> server_random, TrafficKeys* client_write,
                          TrafficKeys* server_write) {
  const Cipher& cipher = CipherOf(suite.cipher);
  const size_t iv_length = cipher.explicit_nonce ? 4 : kIvLength;
  uint8_t block[2 * (kMaxKeyLength + kIvLength)];
  const size_t block_length = 2 * (cipher.key_length + iv_length);
  static constexpr char kSeed[] = "key expansion";
  const OSSL_PARAM params[] = {
      Text(OSSL_KDF_PARAM_DIGEST, HashName(suite.hash_length)),
      Octets(OSSL_KDF_PARAM_SECRET, master_secret),
      Octets(OSSL_KDF_PARAM_SEED, {reinterpret_cast<const uint8_t*>(kSeed), sizeof kSeed - 1}),
      Octets(OSSL_KDF_PARAM_SEED, server_random),
      Octets(OSSL_KDF_PARAM_SEED, client_random),
      OSSL_PARAM_construct_end()};
  const bool ok = Derive("TLS1-PRF", params, {block, block_length});
  if (ok) {
    const uint8_t* next = block;
    for (TrafficKeys* keys : {client_write, server_write}) {
      SetSuite(suite, keys);
      keys->id = NewKeyId();
      std::memcpy(keys->key, next, cipher.key_length);
      next += cipher.key_length;
    }
    for (TrafficKeys* keys : {client_write, server_write}) {
      std::memcpy(keys->iv, next, iv_length);
      next += iv_length;
    }
  }
  OPENSSL_cleanse(block, sizeof block);
  return ok;
}

}  // namespace ironsocket
