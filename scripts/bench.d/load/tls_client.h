// SPDX-License-Identifier: MIT
// One TLS connection of a client: TLS 1.3 with TLS_AES_128_GCM_SHA256, X25519 and ECDSA on P-256,
// and no other, without resumption. Never blocks.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <span>

#include "net/unique_fd.h"

namespace load {

using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
// Ends the program when OpenSSL has none of this.
Context NewContext();

// Tickets that servers have sent us so far.
uint64_t TicketsSeen();

enum class Progress { kDone, kWait, kFailed };

class TlsClient {
 public:
  // Starts to connect to 127.0.0.1; valid() says whether that went well.
  TlsClient(SSL_CTX* context, uint16_t port);

  bool valid() const { return fd_.valid(); }
  int fd() const { return fd_.get(); }
  // Also while it connects.
  Progress Handshake();
  // Bytes read, 0: not now, -1: ended or broken.
  ssize_t Read(std::span<uint8_t> into);
  // True: all of it is written. False: call it again with the same bytes, or it is broken.
  bool Write(std::span<const uint8_t> bytes);
  // A failure, and not just a wait.
  bool broken() const { return broken_; }
  // close_notify and FIN.
  void Finish();
  // After Finish: waits for the other side's FIN or RST, whatever comes before it.
  Progress AwaitEnd();

 private:
  bool IsWait(int result);

  ironsocket::UniqueFd fd_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
  bool broken_ = false;
};

}  // namespace load
