// SPDX-License-Identifier: MIT
// Takes the keys and sequence numbers of a finished handshake out of OpenSSL, so that the SSL
// object can go. Nothing is guessed: OpenSSL's own callbacks say which secrets are in force and how
// many records each key has seen.
//
//   TLS 1.3: traffic secrets from the key log callback; records since then from the message
//   callback (session tickets use up sequence numbers). TLS 1.2: master secret and randoms; one
//   record (Finished) each way; the explicit nonce of our Finished is read off the wire, because
//            OpenSSL starts it at random and no nonce may come twice.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <span>
#include <string>

#include "record/traffic_keys.h"

namespace ironsocket {

class Extraction {
 public:
  Extraction() = default;
  ~Extraction();
  Extraction(const Extraction&) = delete;
  Extraction& operator=(const Extraction&) = delete;

  // Sets the callbacks; once for each SSL_CTX, before any SSL is made of it.
  static void Watch(SSL_CTX* context);

  // Follows this handshake. Before its first step; `this` must outlive `ssl`.
  void Follow(SSL* ssl);

  // Everything that the handshake writes to the network, whole records, in order.
  void SawOutput(std::span<const uint8_t> records);

  // After the handshake: keys for both directions. False and `*error` when OpenSSL's state does not
  // allow to go on without it.
  bool Take(SSL* ssl, const Suite** suite, TrafficKeys* rx, TrafficKeys* tx, std::string* error);

  // Right before SSL_free(), which leaves the traffic secrets in the memory that it gives back
  // (seen in OpenSSL 3.5: struct ssl_connection_st is not cleansed).
  void Wipe(SSL* ssl) const;

 private:
  static void OnKeyLog(const SSL* ssl, const char* line);
  static void OnMessage(int sent, int version, int type, const void* bytes, size_t length, SSL* ssl,
                        void* argument);
  bool Take13(const Suite& suite, TrafficKeys* rx, TrafficKeys* tx) const;
  bool Take12(SSL* ssl, const Suite& suite, TrafficKeys* rx, TrafficKeys* tx) const;

  struct Direction {
    uint8_t secret[kMaxSecretLength] = {};
    size_t secret_length = 0;
    uint64_t records = 0;  // under the keys now in force
  };
  Direction client_;  // what the client sends
  Direction server_;
  bool sent_change_cipher_spec_ = false;
  bool explicit_nonce_seen_ = false;
  uint64_t explicit_nonce_ = 0;  // of our Finished, TLS 1.2
};

}  // namespace ironsocket
