// SPDX-License-Identifier: MIT
// Makes certificates and PEM of every kind that the tests need.
#pragma once

#include <doctest/doctest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <vector>

#include "handshake/certificate.h"
#include "net/unique_fd.h"

inline constexpr int64_t kNotBefore = 1'700'000'000;
inline constexpr int64_t kNotAfter = 2'500'000'000;  // beyond 2050: GeneralizedTime

inline ironsocket::UniqueFd Memfd(std::string_view text) {
  ironsocket::UniqueFd fd(memfd_create("test", MFD_CLOEXEC));
  REQUIRE(write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  return fd;
}

struct Issued {
  ironsocket::X509Ptr certificate;
  ironsocket::PkeyPtr key;
  std::string pem;
  std::string key_pem;
};

struct Request {
  std::string name = "test";
  const Issued* issuer = nullptr;  // nullptr: self-signed
  bool ca = false;
  EVP_PKEY* key = nullptr;  // taken over; nullptr: EC P-256
  long serial = 1;
  std::vector<std::string> dns = {};
};

template <typename Write>
std::string ToPem(Write write) {
  BIO* bio = BIO_new(BIO_s_mem());
  REQUIRE(write(bio) == 1);
  char* bytes = nullptr;
  long length = BIO_get_mem_data(bio, &bytes);
  std::string pem(bytes, static_cast<size_t>(length));
  BIO_free(bio);
  return pem;
}

inline void AddDnsNames(X509* certificate, const std::vector<std::string>& names) {
  GENERAL_NAMES* all = GENERAL_NAMES_new();
  for (const std::string& name : names) {
    GENERAL_NAME* one = GENERAL_NAME_new();
    ASN1_IA5STRING* text = ASN1_IA5STRING_new();
    ASN1_STRING_set(text, name.data(), static_cast<int>(name.size()));
    GENERAL_NAME_set0_value(one, GEN_DNS, text);
    sk_GENERAL_NAME_push(all, one);
  }
  REQUIRE(X509_add1_ext_i2d(certificate, NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT) == 1);
  GENERAL_NAMES_free(all);
}

inline Issued Issue(const Request& request) {
  Issued issued;
  issued.key.reset(request.key == nullptr ? EVP_EC_gen("P-256") : request.key);
  issued.certificate.reset(X509_new());
  X509* certificate = issued.certificate.get();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), request.serial);
  ASN1_TIME_set(X509_getm_notBefore(certificate), kNotBefore);
  ASN1_TIME_set(X509_getm_notAfter(certificate), kNotAfter);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(request.name.data()),
                             static_cast<int>(request.name.size()), -1, 0);
  const Issued& issuer = request.issuer == nullptr ? issued : *request.issuer;
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer.certificate.get()));
  X509_set_pubkey(certificate, issued.key.get());
  BASIC_CONSTRAINTS* constraints = BASIC_CONSTRAINTS_new();
  constraints->ca = request.ca ? 0xff : 0;
  X509_add1_ext_i2d(certificate, NID_basic_constraints, constraints, 1, X509V3_ADD_DEFAULT);
  BASIC_CONSTRAINTS_free(constraints);
  if (!request.dns.empty()) AddDnsNames(certificate, request.dns);
  const EVP_MD* digest = EVP_PKEY_is_a(issuer.key.get(), "ED25519") ? nullptr : EVP_sha256();
  REQUIRE(X509_sign(certificate, issuer.key.get(), digest) > 0);
  issued.pem = ToPem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
  issued.key_pem = ToPem([&](BIO* bio) {
    return PEM_write_bio_PrivateKey(bio, issued.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
  return issued;
}

// "EC PRIVATE KEY" or "RSA PRIVATE KEY"; encrypted: with the headers of RFC 1421.
inline std::string TraditionalKey(EVP_PKEY* key, bool encrypted = false) {
  unsigned char password[] = "password";
  return ToPem([&](BIO* bio) {
    return PEM_write_bio_PrivateKey_traditional(bio, key, encrypted ? EVP_aes_128_cbc() : nullptr,
                                                password, 8, nullptr, nullptr);
  });
}

// "ENCRYPTED PRIVATE KEY"
inline std::string EncryptedKey(EVP_PKEY* key) {
  return ToPem([&](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_128_cbc(), "password", 8, nullptr,
                                         nullptr);
  });
}
