// SPDX-License-Identifier: MIT
// OpenSSL at the other end: a listener's real contexts with both kinds of key, and clients.
#pragma once

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "handshake/certificate.h"
#include "handshake/context.h"
#include "record-keys.h"

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using SslPtr = std::unique_ptr<SSL, FreeSsl>;

inline ironsocket::Certificate EcdsaCertificate(const std::string& name) {
  ironsocket::UniqueFd chain, key;
  ironsocket::Certificate certificate;
  std::string error;
  Require(ironsocket::GenerateCertificate({name}, 30, &chain, &key, &error));
  Require(ironsocket::LoadCertificate(chain.get(), key.get(), &certificate, &error));
  return certificate;
}

// The product makes none; its suites want one.
inline ironsocket::Certificate RsaCertificate(const std::string& name) {
  ironsocket::Certificate certificate;
  certificate.key.reset(EVP_RSA_gen(2048));
  X509* leaf = certificate.chain.emplace_back(X509_new()).get();
  X509_gmtime_adj(X509_getm_notBefore(leaf), -3600);
  X509_gmtime_adj(X509_getm_notAfter(leaf), 30 * 86'400);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(leaf), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.data()),
                             static_cast<int>(name.size()), -1, 0);
  X509_set_issuer_name(leaf, X509_get_subject_name(leaf));
  X509_set_pubkey(leaf, certificate.key.get());
  Require(X509_sign(leaf, certificate.key.get(), EVP_sha256()) > 0);
  return certificate;
}

// All versions and suites, names, protocols and tickets.
inline const ironsocket::ServerContexts& Contexts() {
  static const ironsocket::ServerContexts* const contexts = [] {
    using ironsocket::TicketKeys;
    ironsocket::ContextOptions options{"fuzz", "1.2", "1.3", {}, {"h2", "http/1.1"}, {}, nullptr};
    size_t count = 0;
    const ironsocket::Suite* suites = ironsocket::Suites(&count);
    for (size_t i = 0; i < count; i++) options.ciphers.push_back(suites[i].name);
    options.certificates.push_back(EcdsaCertificate("localhost"));
    options.certificates.push_back(RsaCertificate("localhost"));
    options.certificates.push_back(EcdsaCertificate("*.example"));
    options.certificates.push_back(RsaCertificate("*.example"));
    options.tickets.reset(TicketKeys::Map(TicketKeys::Create().get()));
    auto* made = new ironsocket::ServerContexts;
    std::string error;
    Require(made->Build(std::move(options), &error));
    return made;
  }();
  return *contexts;
}

// A client that offers one suite alone, with memory at both ends.
inline SslPtr NewClient(const ironsocket::Suite& suite) {
  static SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SslPtr client(SSL_new(context));
  SSL* ssl = client.get();
  SSL_set_min_proto_version(ssl, static_cast<int>(suite.version));
  SSL_set_max_proto_version(ssl, static_cast<int>(suite.version));
  Require(suite.version == ironsocket::TlsVersion::kTls13
              ? SSL_set_ciphersuites(ssl, suite.openssl_name)
              : SSL_set_cipher_list(ssl, suite.openssl_name));
  SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(ssl);
  return client;
}

// What it has written and nobody has taken yet.
inline std::vector<uint8_t> TakeWritten(SSL* ssl) {
  std::vector<uint8_t> bytes(BIO_ctrl_pending(SSL_get_wbio(ssl)));
  if (!bytes.empty()) {
    BIO_read(SSL_get_wbio(ssl), bytes.data(), static_cast<int>(bytes.size()));
  }
  return bytes;
}

inline void Give(SSL* ssl, std::span<const uint8_t> bytes) {
  if (!bytes.empty()) {
    BIO_write(SSL_get_rbio(ssl), bytes.data(), static_cast<int>(bytes.size()));
  }
}

// How far OpenSSL got with a stream.
struct Outcome {
  std::vector<uint8_t> data;
  bool ended = false;
  ironsocket::Alert alert = ironsocket::Alert::kNone;  // that it answered with
};

// Notes the fatal alert that an SSL sends. `outcome` must outlive it.
inline void WatchAlerts(SSL* ssl, Outcome* outcome) {
  SSL_set_ex_data(ssl, 1, outcome);
  SSL_set_info_callback(ssl, [](const SSL* from, int where, int value) {
    auto* told = static_cast<Outcome*>(SSL_get_ex_data(from, 1));
    if ((where & SSL_CB_WRITE_ALERT) == SSL_CB_WRITE_ALERT && value >> 8 == 2) {
      told->alert = static_cast<ironsocket::Alert>(value & 0xff);
    }
  });
}

// Takes in what stands in its memory.
inline void ReadAll(SSL* ssl, Outcome* outcome) {
  uint8_t part[16384];
  int got = 0;
  while ((got = SSL_read(ssl, part, sizeof part)) > 0) {
    outcome->data.insert(outcome->data.end(), part, part + got);
  }
  outcome->ended = SSL_get_error(ssl, got) != SSL_ERROR_WANT_READ;
  ERR_clear_error();
}
