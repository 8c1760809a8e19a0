// SPDX-License-Identifier: MIT
// Session ticket keys (RFC 5077 section 4, RFC 8446 section 4.6.1), shared by all workers through
// one memfd that the master makes and rotates and that outlives every process but the keeper: no
// resumption is lost over a restart.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>

#include "net/unique_fd.h"

namespace ironsocket {

// The page is mapped MAP_SHARED by readers and the one writer, and works like a sequence lock: a
// reader that sees the generation change under its copy reads again. A writer that dies half-way
// leaves no trace. Keys: next, current, previous, each with name[16], aes_key[32], hmac_key[32].
// `current` seals; all three open; anything but `current`, and TLS 1.3 always, asks for a fresh
// ticket.
class TicketKeys {
 public:
  // Makes the memfd with three random keys. Invalid with errno set on failure.
  static UniqueFd Create();
  // previous <- current <- next <- random. Called by the one writer (the master). 0 or -errno.
  static int Rotate(int fd);

  // Maps a borrowed memfd read-only. nullptr with errno set on failure (size, mapping).
  static TicketKeys* Map(int fd);
  ~TicketKeys();
  TicketKeys(const TicketKeys&) = delete;
  TicketKeys& operator=(const TicketKeys&) = delete;

  // Makes `context` use these keys (SSL_CTX_set_tlsext_ticket_key_evp_cb; AES-256-CBC with
  // HMAC-SHA256). `this` must outlive it. A context that SSL_set_SSL_CTX() brings in needs its own
  // call: without keys it gives and takes no tickets.
  void Use(SSL_CTX* context);

 private:
  explicit TicketKeys(const void* page) : page_(page) {}
  const void* page_;
};

}  // namespace ironsocket
