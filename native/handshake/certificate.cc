// SPDX-License-Identifier: MIT
#include "handshake/certificate.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "handshake/memory_file.h"
#include "handshake/pem.h"

namespace ironsocket {
namespace {

constexpr char kHex[] = "0123456789abcdef";

bool Matches(const X509Ptr& certificate, const PkeyPtr& key) {
  bool matches = X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  return matches;
}

std::string Fingerprint(const X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  std::string text;
  if (X509_digest(certificate, EVP_sha256(), digest, &length) != 1) return text;
  for (unsigned i = 0; i < length; i++) text.append({kHex[digest[i] >> 4], kHex[digest[i] & 15]});
  return text;
}

std::string NameText(const X509_NAME* name) {
  BIO* bio = BIO_new(BIO_s_mem());
  if (bio == nullptr) return "";
  // RFC 2253 is UTF-8, so what is not ASCII stays readable; control characters are escaped.
  X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  char* bytes = nullptr;
  long length = BIO_get_mem_data(bio, &bytes);
  std::string text(bytes, length > 0 ? static_cast<size_t>(length) : 0);
  BIO_free(bio);
  return text;
}

std::string SerialText(const X509* certificate) {
  BIGNUM* number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr);
  char* hex = number == nullptr ? nullptr : BN_bn2hex(number);
  std::string text(hex == nullptr ? "" : hex);
  OPENSSL_free(hex);
  BN_free(number);
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char byte) { return static_cast<char>(std::tolower(byte)); });
  return text;
}

int64_t Seconds(const ASN1_TIME* time) {
  struct tm parts {};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? timegm(&parts) : 0;
}

// A name as it may be asked for by SNI, in lower case; "" for what can't be a DNS name. A NUL
// inside a name is the classic way to have "bank.example\0.evil.example" certified: such a name
// never matches anything.
std::string DnsName(const ASN1_STRING* string) {
  const unsigned char* bytes = ASN1_STRING_get0_data(string);
  std::string name;
  for (int i = 0; i < ASN1_STRING_length(string); i++) {
    unsigned char byte = bytes[i];
    if (byte >= 'A' && byte <= 'Z') byte = static_cast<unsigned char>(byte - 'A' + 'a');
    bool allowed = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
                   byte == '_' || byte == '.' || byte == '*';
    if (!allowed) return "";
    name += static_cast<char>(byte);
  }
  constexpr size_t kMaxDnsName = 253;  // RFC 1035 section 2.3.4, as text
  return name.size() <= kMaxDnsName ? name : "";
}

void AddName(std::string name, std::vector<std::string>* names) {
  bool known = std::find(names->begin(), names->end(), name) != names->end();
  if (!name.empty() && !known) names->push_back(std::move(name));
}

// The common name counts only where there is no DNS name at all (RFC 6125 section 6.4.4).
std::vector<std::string> DnsNames(const X509* certificate) {
  std::vector<std::string> names;
  bool has_dns = false;
  auto* alternatives = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); i++) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(alternatives, i);
    if (name->type != GEN_DNS) continue;
    has_dns = true;
    AddName(DnsName(name->d.dNSName), &names);
  }
  GENERAL_NAMES_free(alternatives);
  const X509_NAME* subject = X509_get_subject_name(certificate);
  int at = has_dns ? -1 : X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at >= 0) AddName(DnsName(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))), &names);
  return names;
}

CertificateInfo Describe(X509* certificate, bool leaf) {
  CertificateInfo info;
  bool root = X509_self_signed(certificate, 0) == 1 && X509_check_ca(certificate) != 0;
  info.role = leaf ? "leaf" : root ? "root" : "intermediate";
  info.fingerprint = Fingerprint(certificate);
  info.subject = NameText(X509_get_subject_name(certificate));
  info.issuer = NameText(X509_get_issuer_name(certificate));
  info.serial = SerialText(certificate);
  info.not_before = Seconds(X509_get0_notBefore(certificate));
  info.not_after = Seconds(X509_get0_notAfter(certificate));
  if (leaf) info.names = DnsNames(certificate);
  // A key of a type that OpenSSL does not know can't be decoded.
  const EVP_PKEY* key = X509_get0_pubkey(certificate);
  info.key_type = key == nullptr ? "unknown" : DescribeKey(key);
  return info;
}

std::string MismatchSentence(const Certificate& certificate) {
  for (size_t i = 1; i < certificate.chain.size(); i++) {
    if (!Matches(certificate.chain[i], certificate.key)) continue;
    return "the key belongs to certificate " + std::to_string(i + 1) +
           " of the chain; the certificate of the key has to come first";
  }
  return "the key does not match the certificate";
}

}  // namespace

UniqueFd LoadFile(const std::string& path, size_t limit) {
  // O_NONBLOCK: the open of a FIFO would wait for its writer.
  UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  struct stat status;
  if (!file.valid() || fstat(file.get(), &status) != 0) return UniqueFd();
  if (!S_ISREG(status.st_mode)) {
    errno = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
    return UniqueFd();
  }
  std::optional<SecretBytes> bytes = ReadWhole(file.get(), limit);
  if (!bytes) return UniqueFd();
  return MakeMemoryFile("pem", bytes->view(),
                        F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
}

bool LoadCertificate(int chain_fd, int key_fd, Certificate* out, std::string* error) {
  if (!ReadChain(chain_fd, &out->chain, error) || !ReadKey(key_fd, &out->key, error)) return false;
  if (Matches(out->chain.front(), out->key)) return true;
  *error = MismatchSentence(*out);
  return false;
}

bool InspectCertificate(int chain_fd, int key_fd, CertificateReport* out, std::string* error) {
  Certificate certificate;
  *out = {};
  if (!ReadChain(chain_fd, &certificate.chain, error)) return false;
  for (const X509Ptr& each : certificate.chain) {
    out->chain.push_back(Describe(each.get(), each == certificate.chain.front()));
  }
  ERR_clear_error();
  if (key_fd < 0) return true;
  if (!ReadKey(key_fd, &certificate.key, error)) return false;
  out->has_key = true;
  out->key_matches = Matches(certificate.chain.front(), certificate.key);
  out->key_type = DescribeKey(certificate.key.get());
  return true;
}

std::vector<std::string> CertificateNames(X509* certificate) { return DnsNames(certificate); }

}  // namespace ironsocket
