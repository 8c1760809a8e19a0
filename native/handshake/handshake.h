// SPDX-License-Identifier: MIT
// The TLS handshake of one connection, from bytes to bytes: OpenSSL behind a BIO of our own, no
// socket. Once it is done the keys are taken out and OpenSSL is gone. Owned by one handshake
// thread.
#pragma once

#include <openssl/ssl.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "handshake/context.h"
#include "handshake/extraction.h"
#include "handshake/result.h"

namespace ironsocket {

class Handshake {
 public:
  enum class Status { kWantRead, kDone, kFailed };

  // `contexts` must outlive it.
  explicit Handshake(const ServerContexts& contexts);
  ~Handshake();
  Handshake(const Handshake&) = delete;
  Handshake& operator=(const Handshake&) = delete;

  // False when there was no memory for it.
  bool valid() const { return ssl_ != nullptr; }

  // Goes on with what the client sent. `*input` is moved past what was used: all of it, but for
  // what stands behind the client's Finished. Appends to `output` what has to be sent, an alert
  // included where it failed.
  Status Advance(std::span<const uint8_t>* input, std::vector<uint8_t>* output);

  // After kDone, once: the keys and what was negotiated. False and error() when the session can't
  // go on without OpenSSL.
  bool Take(HandshakeResult* result);

  // After kFailed, or a Take that failed: why, for people; OpenSSL's own words where it has some.
  const std::string& error() const { return error_; }
  // What the client asked for so far; empty before its ClientHello.
  std::string sni() const;

 private:
  friend struct HandshakeBio;

  Status RefuseSslv2(std::vector<uint8_t>* output);

  Extraction extraction_;
  SSL* ssl_ = nullptr;
  std::span<const uint8_t> input_;
  std::vector<uint8_t>* output_ = nullptr;
  std::string error_;
};

}  // namespace ironsocket
