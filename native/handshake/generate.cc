// SPDX-License-Identifier: MIT
// GenerateCertificate(): what `run --demo` and tests show to their clients.
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <cstring>

#include "handshake/certificate.h"
#include "handshake/memory_file.h"
#include "handshake/pem.h"

namespace ironsocket {
namespace {

constexpr int kVersion3 = 2;  // X.509 counts from 0 (RFC 5280 section 4.1)
constexpr int kSerialBits = 127;
constexpr size_t kMaxCommonName = 64;  // ub-common-name, RFC 5280 appendix A.1
constexpr long kBackdateSeconds = 3600;

// Frees what X509_add1_ext_i2d copied.
template <typename T, void (*Free)(T*)>
struct Owned {
  void operator()(T* object) const { Free(object); }
  using Ptr = std::unique_ptr<T, Owned>;
};
using Names = Owned<GENERAL_NAMES, GENERAL_NAMES_free>::Ptr;
using Constraints = Owned<BASIC_CONSTRAINTS, BASIC_CONSTRAINTS_free>::Ptr;
using Bits = Owned<ASN1_BIT_STRING, ASN1_BIT_STRING_free>::Ptr;
using Usages = Owned<EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free>::Ptr;
using Number = Owned<BIGNUM, BN_free>::Ptr;

bool AddExtension(X509* certificate, int nid, void* value, bool critical) {
  return X509_add1_ext_i2d(certificate, nid, value, critical ? 1 : 0, X509V3_ADD_DEFAULT) == 1;
}

bool AppendName(const std::string& text, GENERAL_NAMES* names) {
  GENERAL_NAME* name = GENERAL_NAME_new();
  if (name == nullptr || sk_GENERAL_NAME_push(names, name) == 0) {
    GENERAL_NAME_free(name);
    return false;
  }
  if (ASN1_OCTET_STRING* address = a2i_IPADDRESS(text.c_str()); address != nullptr) {
    GENERAL_NAME_set0_value(name, GEN_IPADD, address);
    return true;
  }
  ASN1_IA5STRING* dns = ASN1_IA5STRING_new();
  GENERAL_NAME_set0_value(name, GEN_DNS, dns);
  return dns != nullptr && ASN1_STRING_set(dns, text.data(), static_cast<int>(text.size())) == 1;
}

// Built as objects, not from configuration text: a comma in a name stays in that name.
bool AddExtensions(X509* certificate, const std::vector<std::string>& texts) {
  Names names(GENERAL_NAMES_new());
  Constraints constraints(BASIC_CONSTRAINTS_new());
  Bits usage(ASN1_BIT_STRING_new());
  Usages extended(EXTENDED_KEY_USAGE_new());
  if (!names || !constraints || !usage || !extended) return false;
  for (const std::string& text : texts) {
    if (!AppendName(text, names.get())) return false;
  }
  constraints->ca = 0;
  constexpr int kDigitalSignature = 0;  // RFC 5280 section 4.2.1.3
  return ASN1_BIT_STRING_set_bit(usage.get(), kDigitalSignature, 1) == 1 &&
         sk_ASN1_OBJECT_push(extended.get(), OBJ_nid2obj(NID_server_auth)) > 0 &&
         AddExtension(certificate, NID_basic_constraints, constraints.get(), true) &&
         AddExtension(certificate, NID_key_usage, usage.get(), true) &&
         AddExtension(certificate, NID_ext_key_usage, extended.get(), false) &&
         AddExtension(certificate, NID_subject_alt_name, names.get(), false);
}

bool SetSerial(X509* certificate) {
  Number serial(BN_new());
  return serial != nullptr && BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ANY, 0) == 1 &&
         BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool SetSubject(X509* certificate, const std::string& common_name) {
  X509_NAME* name = X509_NAME_new();
  bool done = name != nullptr &&
              X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                         reinterpret_cast<const unsigned char*>(common_name.data()),
                                         static_cast<int>(common_name.size()), -1, 0) == 1 &&
              X509_set_subject_name(certificate, name) == 1 &&
              X509_set_issuer_name(certificate, name) == 1;
  X509_NAME_free(name);
  return done;
}

bool Fill(X509* certificate, EVP_PKEY* key, const std::vector<std::string>& names, int days) {
  return X509_set_version(certificate, kVersion3) == 1 && SetSerial(certificate) &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), -kBackdateSeconds) != nullptr &&
         X509_time_adj_ex(X509_getm_notAfter(certificate), days, -kBackdateSeconds, nullptr) !=
             nullptr &&
         SetSubject(certificate, names.front()) && X509_set_pubkey(certificate, key) == 1 &&
         AddExtensions(certificate, names) && X509_sign(certificate, key, EVP_sha256()) > 0;
}

UniqueFd ToMemoryFile(BIO* bio) {
  char* bytes = nullptr;
  long length = BIO_get_mem_data(bio, &bytes);
  return MakeMemoryFile("pem", std::span<const char>(bytes, static_cast<size_t>(length)),
                        F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
}

// Freeing a memory BIO cleanses its buffer (BUF_MEM_free(3)).
bool WritePem(X509* certificate, EVP_PKEY* key, UniqueFd* chain_fd, UniqueFd* key_fd,
              std::string* error) {
  BIO* chain = BIO_new(BIO_s_mem());
  BIO* secret = BIO_new(BIO_s_secmem());
  bool encoded = chain != nullptr && secret != nullptr &&
                 PEM_write_bio_X509(chain, certificate) == 1 &&
                 PEM_write_bio_PrivateKey(secret, key, nullptr, nullptr, 0, nullptr, nullptr) == 1;
  if (encoded) {
    *chain_fd = ToMemoryFile(chain);
    *key_fd = ToMemoryFile(secret);
    if (!chain_fd->valid() || !key_fd->valid()) {
      *error = std::string("can't make a memory file: ") + std::strerror(errno);
    }
  } else {
    *error = "can't encode the certificate: " + TakeOpensslReason();
  }
  BIO_free(chain);
  BIO_free(secret);
  return error->empty();
}

bool CheckArguments(const std::vector<std::string>& names, int days, std::string* error) {
  if (names.empty()) *error = "a certificate needs at least one name";
  if (days < 1) *error = "a certificate has to be valid for at least one day";
  for (const std::string& name : names) {
    bool fits = !name.empty() && name.size() <= kMaxCommonName && name.find('\0') == name.npos;
    if (!fits) *error = "a name has to have 1 to 64 characters";
  }
  return error->empty();
}

}  // namespace

bool GenerateCertificate(const std::vector<std::string>& names, int days, UniqueFd* chain_fd,
                         UniqueFd* key_fd, std::string* error) {
  error->clear();
  if (!CheckArguments(names, days, error)) return false;
  ERR_clear_error();
  PkeyPtr key(EVP_EC_gen("P-256"));
  X509Ptr certificate(X509_new());
  if (!key || !certificate || !Fill(certificate.get(), key.get(), names, days)) {
    *error = "can't generate a certificate: " + TakeOpensslReason();
    return false;
  }
  bool written = WritePem(certificate.get(), key.get(), chain_fd, key_fd, error);
  ERR_clear_error();  // a2i_IPADDRESS leaves an error behind for every DNS name
  return written;
}

}  // namespace ironsocket
