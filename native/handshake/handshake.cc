// SPDX-License-Identifier: MIT
#include "handshake/handshake.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <strings.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace ironsocket {

// Reads from the bytes at hand and writes to the output, without a copy in between. OpenSSL asks
// for a header, then for exactly the record's body (no read-ahead), so what stands behind the last
// handshake record is never touched.
struct HandshakeBio {
  static int Read(BIO* bio, char* out, size_t length, size_t* got) {
    auto* handshake = static_cast<Handshake*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    *got = std::min(length, handshake->input_.size());
    if (*got == 0) {
      BIO_set_retry_read(bio);
      return 0;
    }
    std::memcpy(out, handshake->input_.data(), *got);
    handshake->input_ = handshake->input_.subspan(*got);
    return 1;
  }

  static int Write(BIO* bio, const char* bytes, size_t length, size_t* taken) {
    auto* handshake = static_cast<Handshake*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    *taken = 0;
    if (!handshake->output_) return 0;
    handshake->output_->insert(handshake->output_->end(), bytes, bytes + length);
    *taken = length;
    return 1;
  }

  static long Control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

  static int Create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }

  static BIO_METHOD* Method() {
    static BIO_METHOD* const method = [] {
      BIO_METHOD* made = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "ironsocket");
      BIO_meth_set_read_ex(made, Read);
      BIO_meth_set_write_ex(made, Write);
      BIO_meth_set_ctrl(made, Control);
      BIO_meth_set_create(made, Create);
      return made;
    }();
    return method;
  }
};

namespace {

// Every reason in OpenSSL's queue, oldest first, joined with "; ".
std::string DrainErrors() {
  std::string text;
  while (const unsigned long code = ERR_get_error()) {
    const char* reason = ERR_reason_error_string(code);
    if (!text.empty()) text += "; ";
    text += reason ? reason : "unnamed error";
  }
  return text;
}

const char* GroupName(SSL* ssl) {
#if OPENSSL_VERSION_NUMBER >= 0x30200000L
  const char* name = SSL_get0_group_name(ssl);
  for (const char* known : {"X25519MLKEM768", "x25519", "secp256r1", "secp384r1"}) {
    if (name && strcasecmp(name, known) == 0) return known;
  }
#else
  (void)ssl;
#endif
  return "";
}

uint16_t MaxContent(SSL* ssl) {
  // RFC 6066 section 4: 1 to 4 stand for 2^9 to 2^12 bytes.
  const uint8_t code = SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl));
  return code >= 1 && code <= 4 ? static_cast<uint16_t>(1 << (8 + code)) : kMaxPlaintext;
}

}  // namespace

Handshake::Handshake(const ServerContexts& contexts) {
  ERR_clear_error();
  SSL* ssl = SSL_new(contexts.standard());
  BIO* bio = BIO_new(HandshakeBio::Method());
  if (!ssl || !bio) {
    SSL_free(ssl);
    BIO_free(bio);
    return;
  }
  BIO_set_data(bio, this);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_accept_state(ssl);
  extraction_.Follow(ssl);
  ssl_ = ssl;
}

Handshake::~Handshake() {
  if (!ssl_) return;
  // Without this OpenSSL takes the session for a broken one (SSL_free after no close_notify).
  SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  extraction_.Wipe(ssl_);
  SSL_free(ssl_);
}

Handshake::Status Handshake::Advance(std::span<const uint8_t>* input,
                                     std::vector<uint8_t>* output) {
  const size_t before = output->size();
  if (SSL_in_before(ssl_) && !input->empty() && (input->front() & 0x80)) {
    return RefuseSslv2(output);
  }
  ERR_clear_error();
  input_ = *input;
  output_ = output;
  const int result = SSL_do_handshake(ssl_);
  const int want = result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_, result);
  *input = std::exchange(input_, {});
  output_ = nullptr;
  extraction_.SawOutput(std::span(*output).subspan(before));
  if (result == 1) return Status::kDone;
  if (want == SSL_ERROR_WANT_READ) return Status::kWantRead;
  error_ = DrainErrors();
  if (error_.empty()) error_ = "the handshake failed";
  return Status::kFailed;
}

// OpenSSL still takes a hello in the form of SSL 2; RFC 8446 appendix D.5 advises against it.
Handshake::Status Handshake::RefuseSslv2(std::vector<uint8_t>* output) {
  const uint8_t alert[] = {static_cast<uint8_t>(ContentType::kAlert),    3, 1, 0, 2, kAlertFatal,
                           static_cast<uint8_t>(Alert::kProtocolVersion)};
  output->insert(output->end(), std::begin(alert), std::end(alert));
  error_ = "a hello in the form of SSL 2";
  return Status::kFailed;
}

bool Handshake::Take(HandshakeResult* result) {
  if (!extraction_.Take(ssl_, &result->suite, &result->rx, &result->tx, &error_)) return false;
  result->group = GroupName(ssl_);
  result->resumed = SSL_session_reused(ssl_) == 1;
  result->max_content = MaxContent(ssl_);
  result->sni = sni();
  const unsigned char* alpn = nullptr;
  unsigned alpn_length = 0;
  SSL_get0_alpn_selected(ssl_, &alpn, &alpn_length);
  if (alpn) result->alpn.assign(reinterpret_cast<const char*>(alpn), alpn_length);
  return true;
}

std::string Handshake::sni() const {
  const char* name = ssl_ ? SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name) : nullptr;
  return name ? name : "";
}

}  // namespace ironsocket
