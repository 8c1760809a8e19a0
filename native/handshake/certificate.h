// SPDX-License-Identifier: MIT
// Certificate chains and private keys: from PEM in a memfd to OpenSSL objects, and what people are
// told of them. PEM travels between processes as memfds only; a private key never becomes a
// JavaScript value.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "net/unique_fd.h"

namespace ironsocket {

struct FreeX509 {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
struct FreePkey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using X509Ptr = std::unique_ptr<X509, FreeX509>;
using PkeyPtr = std::unique_ptr<EVP_PKEY, FreePkey>;

// A leaf with its intermediates and key. `chain[0]` is the leaf.
struct Certificate {
  std::vector<X509Ptr> chain;
  PkeyPtr key;
};

// What is shown and logged of one certificate of a chain.
struct CertificateInfo {
  std::string role;         // "leaf", "intermediate" or "root" (self-signed CA)
  std::string fingerprint;  // SHA-256, lower-case hex
  std::string subject;      // RFC 2253
  std::string issuer;
  std::string serial;      // hex
  int64_t not_before = 0;  // seconds since the epoch
  int64_t not_after = 0;
  std::vector<std::string> names;  // leaf only: DNS names of subjectAltName, lower case, `*.` kept;
                                   // the CN where there are none
  std::string key_type;            // "EC P-256", "RSA 2048", ...
};

struct CertificateReport {
  std::vector<CertificateInfo> chain;
  bool has_key = false;  // false: no key was asked for
  bool key_matches = false;
  std::string key_type;
};

// Reads the whole of `path` into a new memfd (MFD_CLOEXEC | MFD_ALLOW_SEALING, sealed against
// shrinking, growing and writing after the copy; the copy buffer is cleansed). At most `limit`
// bytes. Returns the memfd or an invalid one with errno set (EFBIG when larger, EISDIR, ENOENT,
// EACCES...).
UniqueFd LoadFile(const std::string& path, size_t limit = 1 << 20);

// Parses a chain and its key from borrowed memfds (read with pread from offset 0; both may be the
// same fd or the same file: other PEM blocks are skipped). False and `*error` says in one sentence
// what is wrong ("no certificate found", "the private key is encrypted", "the key does not match
// the certificate", OpenSSL's reason). The PEM buffer is cleansed.
bool LoadCertificate(int chain_fd, int key_fd, Certificate* out, std::string* error);

// The same for display: `key_fd` may be -1. A key that does not match is not an error here.
bool InspectCertificate(int chain_fd, int key_fd, CertificateReport* out, std::string* error);

// A self-signed EC P-256 certificate for `names` (DNS names or IP addresses in subjectAltName; the
// first is the CN), valid `days` days from one hour ago. Gives PEM in two new memfds.
bool GenerateCertificate(const std::vector<std::string>& names, int days, UniqueFd* chain_fd,
                         UniqueFd* key_fd, std::string* error);

// The names a certificate answers for: the DNS names of subjectAltName in lower case, the common
// name where there are none.
std::vector<std::string> CertificateNames(X509* certificate);

}  // namespace ironsocket
