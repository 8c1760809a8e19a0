// SPDX-License-Identifier: MIT
#include "handshake/context.h"

#include <openssl/err.h>
#include <openssl/sha.h>

#include <algorithm>
#include <map>

#include "handshake/extraction.h"
#include "record/tls.h"

namespace ironsocket {
namespace {

// Written out: 'DEFAULT' in a group list can lose the post-quantum group (CVE-2026-2673). The slash
// makes X25519MLKEM768 preferred wherever the client has it, even at the price of a
// HelloRetryRequest.
#if OPENSSL_VERSION_NUMBER >= 0x30500000L
constexpr char kGroups[] = "X25519MLKEM768/X25519:P-256:P-384";
#else
constexpr char kGroups[] = "X25519:P-256:P-384";
#endif

std::string OpensslReason() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(code);
  ERR_clear_error();
  return reason ? reason : "no reason given";
}

int VersionNumber(const std::string& version) {
  return version == "1.2" ? TLS1_2_VERSION : version == "1.3" ? TLS1_3_VERSION : 0;
}

// Colon lists for both calls that OpenSSL has for suites, out of IANA names or of the default list.
bool CipherLists(const std::vector<std::string>& names, std::string* list12, std::string* list13,
                 std::string* error) {
  std::vector<const Suite*> chosen;
  size_t count = 0;
  const Suite* all = Suites(&count);
  for (size_t i = 0; names.empty() && i < count; ++i) {
    if (all[i].by_default) chosen.push_back(&all[i]);
  }
  for (const std::string& name : names) {
    const Suite* suite = SuiteByName(name);
    if (!suite) {
      *error = "unknown cipher suite " + name;
      return false;
    }
    chosen.push_back(suite);
  }
  for (const Suite* suite : chosen) {
    std::string* list = suite->version == TlsVersion::kTls13 ? list13 : list12;
    if (!list->empty()) list->push_back(':');
    list->append(suite->openssl_name);
  }
  return true;
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return lower;
}

// The wire form of a list of protocols: each with its length in front (RFC 7301 section 3.1).
bool AlpnWire(const std::vector<std::string>& protocols, std::string* wire) {
  for (const std::string& protocol : protocols) {
    if (protocol.empty() || protocol.size() > 255) return false;
    wire->push_back(static_cast<char>(protocol.size()));
    wire->append(protocol);
  }
  return true;
}

}  // namespace

struct ServerContexts::Impl {
  std::vector<SslContextPtr> contexts;
  SSL_CTX* standard = nullptr;
  std::unordered_map<std::string, SSL_CTX*> by_name;
  std::string alpn;
  std::shared_ptr<TicketKeys> tickets;
  std::string list12;
  std::string list13;

  bool Build(const ContextOptions& options, std::string* error);
  SslContextPtr NewContext(const ContextOptions& options, const std::vector<size_t>& certificates,
                           std::string* error);
  bool SetCiphers(SSL_CTX* context, std::string* error) const;
  SSL_CTX* Lookup(std::string_view name) const;
};

namespace {

int ChooseByName(SSL* ssl, int*, void* contexts) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (!name) return SSL_TLSEXT_ERR_NOACK;
  SSL_CTX* chosen = static_cast<const ServerContexts*>(contexts)->ForName(name);
  if (chosen != SSL_get_SSL_CTX(ssl)) SSL_set_SSL_CTX(ssl, chosen);
  return SSL_TLSEXT_ERR_OK;
}

int ChooseAlpn(SSL*, const unsigned char** out, unsigned char* out_length,
               const unsigned char* offered, unsigned int offered_length, void* wire) {
  const std::string& ours = *static_cast<const std::string*>(wire);
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(
          &chosen, out_length, reinterpret_cast<const unsigned char*>(ours.data()),
          static_cast<unsigned>(ours.size()), offered, offered_length) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;  // no_application_protocol, RFC 7301 section 3.2
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

bool UseCertificate(SSL_CTX* context, const Certificate& certificate) {
  if (SSL_CTX_use_certificate(context, certificate.chain[0].get()) != 1) return false;
  if (SSL_CTX_use_PrivateKey(context, certificate.key.get()) != 1) return false;
  SSL_CTX_clear_chain_certs(context);
  for (size_t i = 1; i < certificate.chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, certificate.chain[i].get()) != 1) return false;
  }
  return SSL_CTX_check_private_key(context) == 1;
}

}  // namespace

bool ServerContexts::Impl::SetCiphers(SSL_CTX* context, std::string* error) const {
  if (!list12.empty() && SSL_CTX_set_cipher_list(context, list12.c_str()) != 1) {
    *error = "OpenSSL refuses the TLS 1.2 suites: " + OpensslReason();
    return false;
  }
  if (SSL_CTX_set_ciphersuites(context, list13.c_str()) != 1) {
    *error = "OpenSSL refuses the TLS 1.3 suites: " + OpensslReason();
    return false;
  }
  return true;
}

SslContextPtr ServerContexts::Impl::NewContext(const ContextOptions& options,
                                               const std::vector<size_t>& certificates,
                                               std::string* error) {
  SslContextPtr context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* ctx = context.get();
  if (!ctx) {
    *error = "no TLS context: " + OpensslReason();
    return nullptr;
  }
  // A list for one version only leaves the other without a suite: it is then not offered at all.
  const int min = list12.empty() ? TLS1_3_VERSION : VersionNumber(options.min_version);
  const int max = list13.empty() ? TLS1_2_VERSION : VersionNumber(options.max_version);
  if (min == 0 || max == 0 || min > max || SSL_CTX_set_min_proto_version(ctx, min) != 1 ||
      SSL_CTX_set_max_proto_version(ctx, max) != 1) {
    *error = "no TLS version between " + options.min_version + " and " + options.max_version +
             " has a suite";
    return nullptr;
  }
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
#ifdef SSL_OP_NO_TX_CERTIFICATE_COMPRESSION
  // CVE-2025-66199: memory for compressed certificates.
  SSL_CTX_set_options(ctx,
                      SSL_OP_NO_TX_CERTIFICATE_COMPRESSION | SSL_OP_NO_RX_CERTIFICATE_COMPRESSION);
#endif
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_max_early_data(ctx, 0);
  if (!SetCiphers(ctx, error)) return nullptr;
  if (SSL_CTX_set1_groups_list(ctx, kGroups) != 1) {
    *error = "OpenSSL refuses the groups: " + OpensslReason();
    return nullptr;
  }
  // A ticket of one listener is of no use at another (CVE-2025-23419).
  unsigned char identity[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(options.identity.data()), options.identity.size(),
         identity);
  SSL_CTX_set_session_id_context(ctx, identity, sizeof identity);
  if (tickets) {
    tickets->Use(ctx);
  } else {
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 0);
  }
  if (!alpn.empty()) SSL_CTX_set_alpn_select_cb(ctx, ChooseAlpn, &alpn);
  Extraction::Watch(ctx);
  for (size_t index : certificates) {
    if (UseCertificate(ctx, options.certificates[index])) continue;
    *error = "certificate " + std::to_string(index + 1) + " can't be used: " + OpensslReason();
    return nullptr;
  }
  return context;
}

bool ServerContexts::Impl::Build(const ContextOptions& options, std::string* error) {
  if (options.certificates.empty()) {
    *error = "no certificate";
    return false;
  }
  if (!AlpnWire(options.alpn, &alpn)) {
    *error = "an ALPN protocol has 1 to 255 bytes";
    return false;
  }
  if (!CipherLists(options.ciphers, &list12, &list13, error)) return false;
  tickets = options.tickets;

  // For each name the first certificate of each key type that covers it.
  std::map<std::string, std::vector<size_t>> names;
  std::vector<std::vector<std::string>> names_of(options.certificates.size());
  for (size_t i = 0; i < options.certificates.size(); ++i) {
    names_of[i] = CertificateNames(options.certificates[i].chain[0].get());
    if (names_of[i].empty()) names_of[i].push_back("");
    for (const std::string& name : names_of[i]) {
      std::vector<size_t>& set = names[name];
      const int type = EVP_PKEY_get_base_id(options.certificates[i].key.get());
      const bool taken = std::any_of(set.begin(), set.end(), [&](size_t other) {
        return EVP_PKEY_get_base_id(options.certificates[other].key.get()) == type;
      });
      if (!taken) set.push_back(i);
    }
  }
  std::map<std::vector<size_t>, SSL_CTX*> by_set;
  for (const auto& [name, set] : names) {
    SSL_CTX*& context = by_set[set];
    if (!context) {
      contexts.push_back(NewContext(options, set, error));
      context = contexts.back().get();
      if (!context) return false;
    }
    if (!name.empty()) by_name[name] = context;
    if (name == names_of[0][0]) standard = context;
  }
  return true;
}

SSL_CTX* ServerContexts::Impl::Lookup(std::string_view name) const {
  if (name.ends_with('.')) name.remove_suffix(1);
  const std::string lower = Lower(name);
  auto found = by_name.find(lower);
  if (found == by_name.end()) {
    const size_t dot = lower.find('.');
    if (dot != std::string::npos && dot > 0) found = by_name.find("*" + lower.substr(dot));
  }
  return found == by_name.end() ? standard : found->second;
}

ServerContexts::ServerContexts() = default;
ServerContexts::~ServerContexts() = default;
ServerContexts::ServerContexts(ServerContexts&&) noexcept = default;
ServerContexts& ServerContexts::operator=(ServerContexts&&) noexcept = default;

bool ServerContexts::Build(ContextOptions options, std::string* error) {
  impl_ = std::make_unique<Impl>();
  if (!impl_->Build(options, error)) return false;
  for (const SslContextPtr& context : impl_->contexts) {
    SSL_CTX_set_tlsext_servername_callback(context.get(), ChooseByName);
    SSL_CTX_set_tlsext_servername_arg(context.get(), this);
  }
  return true;
}

SSL_CTX* ServerContexts::standard() const { return impl_->standard; }

SSL_CTX* ServerContexts::ForName(std::string_view name) const { return impl_->Lookup(name); }

}  // namespace ironsocket
