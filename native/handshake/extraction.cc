// SPDX-License-Identifier: MIT
#include "handshake/extraction.h"

#include <malloc.h>
#include <openssl/crypto.h>

#include <cstring>
#include <string_view>

namespace ironsocket {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Bytes written, 0 when it is not hex or does not fit.
size_t DecodeHex(std::string_view hex, std::span<uint8_t> out) {
  if (hex.size() % 2 != 0 || hex.size() / 2 > out.size()) return 0;
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = HexDigit(hex[i]);
    const int low = HexDigit(hex[i + 1]);
    if (high < 0 || low < 0) return 0;
    out[i / 2] = static_cast<uint8_t>(high << 4 | low);
  }
  return hex.size() / 2;
}

}  // namespace

Extraction::~Extraction() { OPENSSL_cleanse(this, sizeof *this); }

void Extraction::Watch(SSL_CTX* context) {
  SSL_CTX_set_keylog_callback(context, OnKeyLog);
  // A record layer copies the callback when it is created: it has to be there from the start.
  SSL_CTX_set_msg_callback(context, OnMessage);
}

void Extraction::Follow(SSL* ssl) { SSL_set_app_data(ssl, this); }

// A line is `LABEL <client random> <secret>` in hex (SSL_CTX_set_keylog_callback(3)).
void Extraction::OnKeyLog(const SSL* ssl, const char* text) {
  auto* self = static_cast<Extraction*>(SSL_get_app_data(ssl));
  const std::string_view line(text);
  const size_t label_end = line.find(' ');
  if (!self || label_end == std::string_view::npos) return;
  const std::string_view label = line.substr(0, label_end);
  Direction* direction = label == "SERVER_TRAFFIC_SECRET_0"   ? &self->server_
                         : label == "CLIENT_TRAFFIC_SECRET_0" ? &self->client_
                                                              : nullptr;
  if (!direction) return;
  direction->secret_length = DecodeHex(line.substr(line.rfind(' ') + 1), direction->secret);
  direction->records = 0;
}

void Extraction::OnMessage(int sent, int, int type, const void* bytes, size_t length, SSL* ssl,
                           void*) {
  auto* self = static_cast<Extraction*>(SSL_get_app_data(ssl));
  if (!self || type != SSL3_RT_HEADER || length < kHeaderLength) return;
  Direction& direction = sent ? self->server_ : self->client_;
  const bool change_cipher_spec =
      static_cast<const uint8_t*>(bytes)[0] == static_cast<uint8_t>(ContentType::kChangeCipherSpec);
  // In TLS 1.2 it starts the new keys. In TLS 1.3 it means nothing, and comes before the secrets
  // that matter.
  if (change_cipher_spec) {
    direction.records = 0;
  } else {
    ++direction.records;
  }
}

void Extraction::SawOutput(std::span<const uint8_t> records) {
  while (!explicit_nonce_seen_ && records.size() >= kHeaderLength) {
    const size_t length = kHeaderLength + (static_cast<size_t>(records[3]) << 8 | records[4]);
    if (length > records.size()) return;
    if (sent_change_cipher_spec_ && length >= kHeaderLength + kExplicitNonceLength) {
      for (size_t i = 0; i < kExplicitNonceLength; ++i) {
        explicit_nonce_ = explicit_nonce_ << 8 | records[kHeaderLength + i];
      }
      explicit_nonce_seen_ = true;
    }
    if (records[0] == static_cast<uint8_t>(ContentType::kChangeCipherSpec)) {
      sent_change_cipher_spec_ = true;
    }
    records = records.subspan(length);
  }
}

void Extraction::Wipe(SSL* ssl) const {
  // The object is one block of malloc's (OPENSSL_zalloc). Where in it they are is OpenSSL's.
  auto* const begin = reinterpret_cast<uint8_t*>(ssl);
  const size_t size = malloc_usable_size(ssl);
  for (const Direction* direction : {&client_, &server_}) {
    const size_t length = direction->secret_length;
    if (length == 0) continue;
    while (void* found = memmem(begin, size, direction->secret, length)) {
      OPENSSL_cleanse(found, length);
    }
  }
}

bool Extraction::Take13(const Suite& suite, TrafficKeys* rx, TrafficKeys* tx) const {
  if (!KeysFromTrafficSecret(suite, {client_.secret, client_.secret_length}, rx)) return false;
  return KeysFromTrafficSecret(suite, {server_.secret, server_.secret_length}, tx);
}

bool Extraction::Take12(SSL* ssl, const Suite& suite, TrafficKeys* rx, TrafficKeys* tx) const {
  uint8_t master_secret[SSL_MAX_MASTER_KEY_LENGTH];
  const size_t length =
      SSL_SESSION_get_master_key(SSL_get_session(ssl), master_secret, sizeof master_secret);
  uint8_t client_random[32];
  uint8_t server_random[32];
  bool ok = SSL_get_client_random(ssl, client_random, 32) == 32 &&
            SSL_get_server_random(ssl, server_random, 32) == 32 && length > 0;
  ok = ok &&
       KeysFromMasterSecret(suite, {master_secret, length}, client_random, server_random, rx, tx);
  OPENSSL_cleanse(master_secret, sizeof master_secret);
  if (!ok) return false;
  if (tx->explicit_nonces() && !explicit_nonce_seen_) return false;
  tx->explicit_nonce = explicit_nonce_ + 1;
  return true;
}

bool Extraction::Take(SSL* ssl, const Suite** suite, TrafficKeys* rx, TrafficKeys* tx,
                      std::string* error) {
  const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl);
  *suite = cipher ? SuiteById(SSL_CIPHER_get_protocol_id(cipher)) : nullptr;
  if (!*suite) {
    *error = "the negotiated suite has no record engine";
    return false;
  }
  const bool tls13 = (*suite)->version == TlsVersion::kTls13;
  if (SSL_version(ssl) != static_cast<int>((*suite)->version) || SSL_pending(ssl) > 0) {
    *error = "OpenSSL holds on to the session";
    return false;
  }
  if (!(tls13 ? Take13(**suite, rx, tx) : Take12(ssl, **suite, rx, tx))) {
    *error = "the session's keys could not be derived";
    return false;
  }
  rx->sequence = client_.records;
  tx->sequence = server_.records;
  // In TLS 1.3 nothing after the client's Finished was read. In TLS 1.2 Finished is our one record,
  // and the client's unless it was split.
  if (tls13 ? rx->sequence != 0 : rx->sequence < 1 || tx->sequence != 1) {
    *error = "unexpected number of records in the handshake";
    return false;
  }
  return true;
}

}  // namespace ironsocket
