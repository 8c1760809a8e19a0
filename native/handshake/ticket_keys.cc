// SPDX-License-Identifier: MIT
#include "handshake/ticket_keys.h"

#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "handshake/memory_file.h"
#include "handshake/ticket_page.h"

namespace ironsocket {
namespace {

constexpr uint64_t kFormat = 0x1235'0001'7469'636bULL;
constexpr uint64_t kFirstGeneration = 1;

// 0, or -errno when it is no page of ours. Without the shrink seal a truncated file would kill its
// readers (SIGBUS).
int CheckFile(int fd) {
  struct stat status;
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || fstat(fd, &status) != 0) return -errno;
  bool fits =
      (seals & F_SEAL_SHRINK) != 0 && status.st_size == static_cast<off_t>(sizeof(TicketPage));
  return fits ? 0 : -EINVAL;
}

void* MapPage(int fd, int protection) {
  if (int error = CheckFile(fd); error != 0) {
    errno = -error;
    return nullptr;
  }
  void* page = mmap(nullptr, sizeof(TicketPage), protection, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED) return nullptr;
  // As well as limits allow: keys should reach neither a swap device nor a core file.
  mlock(page, sizeof(TicketPage));
  madvise(page, sizeof(TicketPage), MADV_DONTDUMP);
  if (LoadTicketWord(static_cast<const TicketPage*>(page)->format) != kFormat) {
    munmap(page, sizeof(TicketPage));
    errno = EINVAL;
    return nullptr;
  }
  return page;
}

int ContextIndex() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

bool InitMac(EVP_MAC_CTX* mac, TicketKey* key) {
  char digest[] = "SHA256";
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac_key, sizeof(key->hmac_key)),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end()};
  return EVP_MAC_CTX_set_params(mac, params) == 1;
}

// Seals with the current key. 1, or -1 on failure.
int Seal(TicketKeySet* keys, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
         EVP_MAC_CTX* mac) {
  const EVP_CIPHER* aes = EVP_aes_256_cbc();
  TicketKey& key = keys->current;
  std::memcpy(name, key.name, sizeof(key.name));
  bool done = RAND_bytes(iv, EVP_CIPHER_get_iv_length(aes)) == 1 &&
              EVP_EncryptInit_ex2(cipher, aes, key.aes_key, iv, nullptr) == 1 && InitMac(mac, &key);
  return done ? 1 : -1;
}

// 1: opened with the current key; 2: opened, send a fresh ticket; 0: unknown key, full handshake;
// -1: failure. In TLS 1.3 every ticket is to be used once only (RFC 8446 appendix C.4), so each is
// replaced: OpenSSL does that by itself only for keys of its own.
int Open(TicketKeySet* keys, bool renew, const unsigned char* name, const unsigned char* iv,
         EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac) {
  for (TicketKey* key : {&keys->current, &keys->previous, &keys->next}) {
    if (std::memcmp(name, key->name, sizeof(key->name)) != 0) continue;
    bool done = EVP_DecryptInit_ex2(cipher, EVP_aes_256_cbc(), key->aes_key, iv, nullptr) == 1 &&
                InitMac(mac, key);
    return !done ? -1 : key == &keys->current && !renew ? 1 : 2;
  }
  return 0;
}

// The callback of SSL_CTX_set_tlsext_ticket_key_evp_cb(3); runs on whichever thread does the
// handshake.
int OnTicket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
             EVP_MAC_CTX* mac, int seal) {
  const void* page = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ContextIndex());
  if (page == nullptr) return 0;  // SSL_set_SSL_CTX brought in a context without keys: no ticket
  TicketKeySet keys;
  ReadTicketKeys(*static_cast<const TicketPage*>(page), &keys);
  if (seal) return Seal(&keys, name, iv, cipher, mac);
  return Open(&keys, SSL_version(ssl) >= TLS1_3_VERSION, name, iv, cipher, mac);
}

}  // namespace

UniqueFd TicketKeys::Create() {
  SecretBytes bytes(sizeof(TicketPage));
  bytes.set_size(sizeof(TicketPage));
  auto* page = reinterpret_cast<TicketPage*>(bytes.data());
  page->format = kFormat;
  page->generation = kFirstGeneration;
  if (RAND_priv_bytes(reinterpret_cast<unsigned char*>(page->slots), sizeof(page->slots)) != 1) {
    errno = EIO;
    return UniqueFd();
  }
  return MakeMemoryFile("ticket-keys", bytes.view(), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

int TicketKeys::Rotate(int fd) {
  TicketKeyWords fresh;
  if (RAND_priv_bytes(reinterpret_cast<unsigned char*>(&fresh), sizeof(fresh)) != 1) return -EIO;
  auto* page = static_cast<TicketPage*>(MapPage(fd, PROT_READ | PROT_WRITE));
  int error = page == nullptr ? -errno : 0;
  if (page != nullptr) {
    RotateTicketKeys(fresh, page);
    munmap(page, sizeof(TicketPage));
  }
  OPENSSL_cleanse(&fresh, sizeof(fresh));
  return error;
}

TicketKeys* TicketKeys::Map(int fd) {
  void* page = MapPage(fd, PROT_READ);
  return page == nullptr ? nullptr : new TicketKeys(page);
}

TicketKeys::~TicketKeys() { munmap(const_cast<void*>(page_), sizeof(TicketPage)); }

void TicketKeys::Use(SSL_CTX* context) {
  SSL_CTX_set_ex_data(context, ContextIndex(), const_cast<void*>(page_));
  SSL_CTX_set_tlsext_ticket_key_evp_cb(context, OnTicket);
}

}  // namespace ironsocket
