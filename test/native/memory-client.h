// SPDX-License-Identifier: MIT
// OpenSSL as a client, in memory: the other end of handshakes and the oracle of what comes after.
#pragma once

#include <doctest/doctest.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "handshake/context.h"
#include "handshake/handshake.h"
#include "issue.h"
#include "record-oracle.h"

struct FreeOpenssl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};
using SessionPtr = std::unique_ptr<SSL_SESSION, FreeOpenssl>;

struct ClientOptions {
  int min_version = TLS1_2_VERSION;
  int max_version = TLS1_3_VERSION;
  const char* suite = nullptr;  // OpenSSL's name; nullptr: all
  const char* groups = nullptr;
  const char* sni = nullptr;
  std::string_view alpn = {};  // wire form
  SSL_SESSION* session = nullptr;
  uint8_t max_fragment = 0;  // code of RFC 6066 section 4
  const char* signatures = nullptr;
};

class MemoryClient {
 public:
  explicit MemoryClient(const ClientOptions& options) : context_(SSL_CTX_new(TLS_client_method())) {
    SSL_CTX* context = context_.get();
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    REQUIRE(SSL_CTX_set_min_proto_version(context, options.min_version) == 1);
    REQUIRE(SSL_CTX_set_max_proto_version(context, options.max_version) == 1);
    if (options.suite && std::string_view(options.suite).starts_with("TLS_")) {
      REQUIRE(SSL_CTX_set_ciphersuites(context, options.suite) == 1);
    } else if (options.suite) {
      REQUIRE(SSL_CTX_set_cipher_list(context, options.suite) == 1);
    } else {
      REQUIRE(SSL_CTX_set_ciphersuites(context,
                                       "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                       "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256") == 1);
    }
    if (options.groups) REQUIRE(SSL_CTX_set1_groups_list(context, options.groups) == 1);
    if (options.signatures) REQUIRE(SSL_CTX_set1_sigalgs_list(context, options.signatures) == 1);
    ssl_.reset(SSL_new(context));
    in_ = BIO_new(BIO_s_mem());
    out_ = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl(), in_, out_);
    SSL_set_connect_state(ssl());
    if (options.sni) SSL_set_tlsext_host_name(ssl(), options.sni);
    if (!options.alpn.empty()) {
      SSL_set_alpn_protos(ssl(), reinterpret_cast<const unsigned char*>(options.alpn.data()),
                          static_cast<unsigned>(options.alpn.size()));
    }
    if (options.session) SSL_set_session(ssl(), options.session);
    if (options.max_fragment) SSL_set_tlsext_max_fragment_length(ssl(), options.max_fragment);
  }

  // A session that was not shut down counts as broken, and would not be resumable.
  ~MemoryClient() { SSL_set_shutdown(ssl(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); }

  SSL* ssl() const { return ssl_.get(); }

  // What it wants to send.
  Bytes Take() {
    Bytes bytes(BIO_ctrl_pending(out_));
    if (!bytes.empty()) BIO_read(out_, bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
  }
  void Give(const Bytes& bytes) {
    if (!bytes.empty()) BIO_write(in_, bytes.data(), static_cast<int>(bytes.size()));
  }
  // True once its handshake is done.
  bool Handshake() {
    ERR_clear_error();
    return SSL_do_handshake(ssl()) == 1;
  }
  void Write(const Bytes& bytes) {
    REQUIRE(SSL_write(ssl(), bytes.data(), static_cast<int>(bytes.size())) ==
            static_cast<int>(bytes.size()));
  }
  // All application data that has come.
  Bytes Read() {
    Bytes all;
    uint8_t part[16384];
    ERR_clear_error();
    int got;
    while ((got = SSL_read(ssl(), part, sizeof part)) > 0) all.insert(all.end(), part, part + got);
    error = SSL_get_error(ssl(), got);
    return all;
  }
  int error = 0;  // SSL_get_error of the last Read

  // The session to resume; to be called after a Read, which takes in the tickets of TLS 1.3.
  SessionPtr Session() {
    SSL_set_shutdown(ssl(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    return SessionPtr(SSL_get1_session(ssl()));
  }

 private:
  std::unique_ptr<SSL_CTX, FreeOpenssl> context_;
  std::unique_ptr<SSL, FreeOpenssl> ssl_;
  BIO* in_ = nullptr;  // both belong to ssl_
  BIO* out_ = nullptr;
};

inline ironsocket::Certificate ToCertificate(const Issued& issued) {
  ironsocket::Certificate certificate;
  X509_up_ref(issued.certificate.get());
  certificate.chain.emplace_back(issued.certificate.get());
  EVP_PKEY_up_ref(issued.key.get());
  certificate.key.reset(issued.key.get());
  return certificate;
}

inline const Issued& EcLeaf() {
  static const Issued leaf = Issue({.dns = {"localhost"}});
  return leaf;
}
inline const Issued& RsaLeaf() {
  static const Issued leaf = Issue({.key = EVP_RSA_gen(2048), .dns = {"localhost"}});
  return leaf;
}

// Ticket keys of their own for each test that wants some.
inline std::shared_ptr<ironsocket::TicketKeys> FreshTickets() {
  return std::shared_ptr<ironsocket::TicketKeys>(
      ironsocket::TicketKeys::Map(ironsocket::TicketKeys::Create().get()));
}

struct ServerOptions {
  std::string identity = "test";
  std::string min_version = "1.2";
  std::string max_version = "1.3";
  std::vector<std::string> ciphers = {};
  std::vector<std::string> alpn = {};
  std::shared_ptr<ironsocket::TicketKeys> tickets = nullptr;
  std::vector<const Issued*> certificates = {&EcLeaf(), &RsaLeaf()};
};

inline ironsocket::ContextOptions ToContextOptions(const ServerOptions& options) {
  ironsocket::ContextOptions context{options.identity, options.min_version, options.max_version,
                                     options.ciphers,  options.alpn,        {},
                                     options.tickets};
  for (const Issued* issued : options.certificates) {
    context.certificates.push_back(ToCertificate(*issued));
  }
  return context;
}

// A listener's contexts; ECDSA and RSA for localhost unless told otherwise.
inline std::unique_ptr<ironsocket::ServerContexts> Server(const ServerOptions& options = {}) {
  auto contexts = std::make_unique<ironsocket::ServerContexts>();
  std::string error;
  const bool built = contexts->Build(ToContextOptions(options), &error);
  INFO(error);
  REQUIRE(built);
  return contexts;
}
