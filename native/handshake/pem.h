// SPDX-License-Identifier: MIT
// From PEM (RFC 7468) to OpenSSL objects, without a password prompt and without a file access by
// OpenSSL. Errors are one sentence; the thread's OpenSSL error queue is left empty.
#pragma once

#include <string>
#include <vector>

#include "handshake/certificate.h"

namespace ironsocket {

// All certificates of a borrowed memfd in their order; other blocks are skipped. At least one, or
// false.
bool ReadChain(int fd, std::vector<X509Ptr>* out, std::string* error);

// The first private key of a borrowed memfd; other blocks are skipped. Encrypted keys are refused.
bool ReadKey(int fd, PkeyPtr* out, std::string* error);

// OpenSSL's reason for its last failure on this thread ("bad base64 decode"), or "unknown". Empties
// the queue.
std::string TakeOpensslReason();

// "EC P-256", "RSA 2048", "Ed25519", ...
std::string DescribeKey(const EVP_PKEY* key);

}  // namespace ironsocket
