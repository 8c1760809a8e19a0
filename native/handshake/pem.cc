// SPDX-License-Identifier: MIT
#include "handshake/pem.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "handshake/memory_file.h"

namespace ironsocket {
namespace {

constexpr size_t kMaxPem = 1 << 20;

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using BioPtr = std::unique_ptr<BIO, FreeBio>;

// One block between BEGIN and END, decoded. Cleansed when freed: it may be a key.
struct Block {
  char* name = nullptr;
  char* header = nullptr;
  unsigned char* bytes = nullptr;
  long size = 0;

  Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    // PEM_FLAG_SECURE put all three into OpenSSL's secure heap, where there is one.
    OPENSSL_secure_free(name);
    OPENSSL_secure_free(header);
    OPENSSL_secure_clear_free(bytes, static_cast<size_t>(size));
  }
  bool Named(std::string_view wanted) const { return wanted == name; }
  // PKCS#8 (RFC 7468 section 11), or the older header of RFC 1421.
  bool Encrypted() const {
    return Named("ENCRYPTED PRIVATE KEY") || std::strstr(header, "ENCRYPTED") != nullptr;
  }
  bool IsKey() const { return std::string_view(name).ends_with("PRIVATE KEY"); }
  bool IsCertificate() const {
    return Named("CERTIFICATE") || Named("X509 CERTIFICATE") || Named("TRUSTED CERTIFICATE");
  }
};

// The blocks of a file, one after the other.
class PemReader {
 public:
  bool Open(int fd, std::string* error) {
    std::optional<SecretBytes> text = ReadWhole(fd, kMaxPem);
    if (!text) {
      *error = std::string("can't read the PEM: ") + std::strerror(errno);
      return false;
    }
    text_.emplace(std::move(*text));
    std::span<const char> view = text_->view();
    // Does not copy. ReadWhole() allocates at least one byte, so even an empty text is not null.
    bio_.reset(BIO_new_mem_buf(view.data(), static_cast<int>(view.size())));
    if (bio_ == nullptr) *error = TakeOpensslReason();
    return bio_ != nullptr;
  }

  // False at the end, and with a sentence in `error` when a block is damaged.
  bool Next(Block* out, std::string* error) {
    ERR_clear_error();
    if (PEM_read_bio_ex(bio_.get(), &out->name, &out->header, &out->bytes, &out->size,
                        PEM_FLAG_SECURE) == 1) {
      return true;
    }
    // No more BEGIN line: text after the last block is allowed (RFC 7468 section 5.2).
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    std::string reason = TakeOpensslReason();
    if (!at_end) *error = "the PEM is damaged: " + reason;
    return false;
  }

 private:
  std::optional<SecretBytes> text_;
  BioPtr bio_;
};

X509Ptr DecodeCertificate(const Block& block) {
  const unsigned char* bytes = block.bytes;
  // The trusted form has OpenSSL's own attributes behind the certificate.
  return X509Ptr(block.Named("TRUSTED CERTIFICATE") ? d2i_X509_AUX(nullptr, &bytes, block.size)
                                                    : d2i_X509(nullptr, &bytes, block.size));
}

}  // namespace

std::string TakeOpensslReason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  std::string text(reason == nullptr ? "unknown" : reason);
  ERR_clear_error();
  return text;
}

bool ReadChain(int fd, std::vector<X509Ptr>* out, std::string* error) {
  PemReader reader;
  error->clear();
  out->clear();
  if (!reader.Open(fd, error)) return false;
  for (;;) {
    Block block;
    if (!reader.Next(&block, error)) break;
    if (!block.IsCertificate()) continue;
    X509Ptr certificate = DecodeCertificate(block);
    if (certificate == nullptr) {
      *error = "certificate " + std::to_string(out->size() + 1) +
               " of the file can't be decoded: " + TakeOpensslReason();
      return false;
    }
    out->push_back(std::move(certificate));
  }
  if (error->empty() && out->empty()) *error = "no certificate found";
  return error->empty();
}

bool ReadKey(int fd, PkeyPtr* out, std::string* error) {
  PemReader reader;
  error->clear();
  if (!reader.Open(fd, error)) return false;
  for (;;) {
    Block block;
    if (!reader.Next(&block, error)) break;
    if (!block.IsKey()) continue;
    if (block.Encrypted()) {
      *error = "the private key is encrypted; it has to be stored without a passphrase";
      return false;
    }
    const unsigned char* bytes = block.bytes;
    out->reset(d2i_AutoPrivateKey(nullptr, &bytes, block.size));
    std::string reason =
        TakeOpensslReason();  // decoding may leave errors behind even where it succeeds
    if (*out == nullptr) *error = "the private key can't be decoded: " + reason;
    return *out != nullptr;
  }
  if (error->empty()) *error = "no private key found";
  return false;
}

std::string DescribeKey(const EVP_PKEY* key) {
  if (EVP_PKEY_is_a(key, "EC")) {
    char group[64] = "";
    EVP_PKEY_get_group_name(key, group, sizeof(group), nullptr);
    // OpenSSL's names are those of SEC 2; people know the ones of FIPS 186.
    std::string_view name(group);
    if (name == "prime256v1") name = "P-256";
    if (name == "secp384r1") name = "P-384";
    if (name == "secp521r1") name = "P-521";
    return "EC " + std::string(name);
  }
  if (EVP_PKEY_is_a(key, "ED25519")) return "Ed25519";
  if (EVP_PKEY_is_a(key, "ED448")) return "Ed448";
  const char* type = EVP_PKEY_get0_type_name(key);
  return std::string(type == nullptr ? "unknown" : type) + " " +
         std::to_string(EVP_PKEY_get_bits(key));
}

}  // namespace ironsocket
