// SPDX-License-Identifier: MIT
#include "tls_client.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "protocol.h"

namespace load {
namespace {

uint64_t tickets;

int OnTicket(SSL*, SSL_SESSION*) {
  ++tickets;
  return 0;  // it stays OpenSSL's, which forgets it
}

}  // namespace

uint64_t TicketsSeen() { return tickets; }

Context NewContext() {
  Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX* raw = context.get();
  if (raw == nullptr || SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(raw, "TLS_AES_128_GCM_SHA256") != 1 ||
      SSL_CTX_set1_groups_list(raw, "X25519") != 1 ||
      SSL_CTX_set1_sigalgs_list(raw, "ECDSA+SHA256") != 1) {
    ERR_print_errors_fp(stderr);
    exit(70);
  }
  // The certificate is nobody's; its signature over the handshake is checked all the same.
  SSL_CTX_set_verify(raw, SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(raw, OnTicket);
  SSL_CTX_set_mode(raw, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

TlsClient::TlsClient(SSL_CTX* context, uint16_t port)
    : fd_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)),
      ssl_(SSL_new(context), SSL_free) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  if (!fd_.valid() || ssl_ == nullptr ||
      setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      (connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
       errno != EINPROGRESS) ||
      SSL_set_fd(ssl_.get(), fd_.get()) != 1) {
    perror("connect");
    fd_.Reset();
    return;
  }
  SSL_set_connect_state(ssl_.get());
}

Progress TlsClient::Handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) return Progress::kDone;
  return IsWait(result) ? Progress::kWait : Progress::kFailed;
}

ssize_t TlsClient::Read(std::span<uint8_t> into) {
  ERR_clear_error();
  const int result = SSL_read(ssl_.get(), into.data(), static_cast<int>(into.size()));
  if (result > 0) return result;
  return IsWait(result) ? 0 : -1;
}

bool TlsClient::Write(std::span<const uint8_t> bytes) {
  ERR_clear_error();
  const int result = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
  if (result > 0) return true;
  IsWait(result);
  return false;
}

void TlsClient::Finish() {
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
  shutdown(fd_.get(), SHUT_WR);
}

Progress TlsClient::AwaitEnd() {
  uint8_t ignored[4096];
  for (;;) {
    const ssize_t got = recv(fd_.get(), ignored, sizeof ignored, 0);
    if (got > 0) continue;
    if (got < 0 && errno == EAGAIN) return Progress::kWait;
    return got == 0 ? Progress::kDone : Progress::kFailed;
  }
}

bool TlsClient::IsWait(int result) {
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return true;
  broken_ = true;
  return false;
}

}  // namespace load
