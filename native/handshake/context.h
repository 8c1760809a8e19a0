// SPDX-License-Identifier: MIT
// The TLS side of a listener: protocol versions, suites, groups, ALPN, tickets, and which
// certificate answers which name.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "handshake/certificate.h"
#include "handshake/ticket_keys.h"

namespace ironsocket {

struct FreeSslContext {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using SslContextPtr = std::unique_ptr<SSL_CTX, FreeSslContext>;

struct ContextOptions {
  std::string identity;  // binds tickets to this listener (SSL_CTX_set_session_id_context)
  std::string min_version;
  std::string max_version;
  std::vector<std::string> ciphers;
  std::vector<std::string> alpn;
  std::vector<Certificate> certificates;
  std::shared_ptr<TicketKeys> tickets;  // may be null: no tickets
};

// One SSL_CTX for each set of certificates that some name wants (ECDSA and RSA of the same name
// share one). The listener's default is the set of the first certificate's name. Immutable once
// built, used by all handshake threads.
class ServerContexts {
 public:
  ServerContexts();
  ~ServerContexts();
  ServerContexts(ServerContexts&&) noexcept;
  ServerContexts& operator=(ServerContexts&&) noexcept;

  // False and `*error` says what is wrong. Must stay where it is afterwards: OpenSSL's callbacks
  // point to its inside.
  bool Build(ContextOptions options, std::string* error);

  SSL_CTX* standard() const;
  // The context for a name that a client asked for: exact, then with its first label as a wildcard,
  // then the standard one. Case and one trailing dot do not matter.
  SSL_CTX* ForName(std::string_view name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ironsocket
