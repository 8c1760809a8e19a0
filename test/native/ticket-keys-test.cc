// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "handshake/ticket_keys.h"
#include "handshake/ticket_page.h"
#include "issue.h"

using namespace ironsocket;

namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

struct FreeSsl {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};
using ContextPtr = std::unique_ptr<SSL_CTX, FreeSsl>;
using SslPtr = std::unique_ptr<SSL, FreeSsl>;
using SessionPtr = std::unique_ptr<SSL_SESSION, FreeSsl>;

std::string Bytes(int fd) {
  struct stat status;
  fstat(fd, &status);
  std::string bytes(static_cast<size_t>(status.st_size), '\0');
  REQUIRE(pread(fd, bytes.data(), bytes.size(), 0) == status.st_size);
  return bytes;
}

UniqueFd Sealed(std::string_view bytes, int seals = kSeals) {
  UniqueFd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(pwrite(fd.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  REQUIRE(fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
  return fd;
}

ContextPtr ServerContext(TicketKeys* keys) {
  static const Issued leaf = Issue({.dns = {"a.example"}});
  ContextPtr context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX_use_certificate(context.get(), leaf.certificate.get());
  SSL_CTX_use_PrivateKey(context.get(), leaf.key.get());
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  if (keys != nullptr) keys->Use(context.get());
  return context;
}

// What one handshake in memory came to.
struct Outcome {
  bool resumed;
  SessionPtr session;  // the latest one that the server gave
  std::string ticket() const {
    const unsigned char* bytes = nullptr;
    size_t length = 0;
    SSL_SESSION_get0_ticket(session.get(), &bytes, &length);
    return std::string(reinterpret_cast<const char*>(bytes), length);
  }
};

Outcome Connect(TicketKeys* keys, int version, SSL_SESSION* offered) {
  ContextPtr server_context = ServerContext(keys);
  ContextPtr client_context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(client_context.get(), version);
  SSL_CTX_set_max_proto_version(client_context.get(), version);
  // A cache would mark its sessions as not resumable when it is freed with its context.
  SSL_CTX_set_session_cache_mode(client_context.get(), SSL_SESS_CACHE_OFF);
  SslPtr server(SSL_new(server_context.get())), client(SSL_new(client_context.get()));
  BIO *server_bio = nullptr, *client_bio = nullptr;
  REQUIRE(BIO_new_bio_pair(&server_bio, 65536, &client_bio, 65536) == 1);
  SSL_set_bio(server.get(), server_bio, server_bio);
  SSL_set_bio(client.get(), client_bio, client_bio);
  SSL_set_accept_state(server.get());
  SSL_set_connect_state(client.get());
  if (offered != nullptr) SSL_set_session(client.get(), offered);
  int done = 0;
  for (int round = 0; round < 10 && done < 2; round++) {
    done = (SSL_do_handshake(client.get()) == 1) + (SSL_do_handshake(server.get()) == 1);
  }
  REQUIRE(done == 2);
  char byte;
  SSL_read(client.get(), &byte, 1);  // takes in the tickets of TLS 1.3
  // A session without a shutdown would be taken for a broken one, and not be resumable.
  SSL_set_shutdown(client.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  ERR_clear_error();
  return {SSL_session_reused(server.get()) == 1, SessionPtr(SSL_get1_session(client.get()))};
}

TicketKeyWords Words(uint64_t value) {
  TicketKeyWords words;
  words.fill(value);
  return words;
}

// The number that fills all words of a key; -1 for a key in pieces.
int64_t Number(const TicketKey& key) {
  TicketKeyWords words;
  std::memcpy(&words, &key, sizeof(words));
  return words == Words(words[0]) ? static_cast<int64_t>(words[0]) : -1;
}

}  // namespace

TEST_CASE("tickets: the file is sealed, closed on exec and never the same twice") {
  UniqueFd one = TicketKeys::Create(), two = TicketKeys::Create();
  REQUIRE(one.valid());
  CHECK(fcntl(one.get(), F_GET_SEALS) == kSeals);
  CHECK((fcntl(one.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(Bytes(one.get()).size() == sizeof(TicketPage));
  CHECK(Bytes(one.get()) != Bytes(two.get()));
}

TEST_CASE("tickets: what is no page of ours is refused") {
  auto refuse = [](const UniqueFd& fd, int error) {
    errno = 0;
    CHECK(TicketKeys::Map(fd.get()) == nullptr);
    CHECK(errno == error);
    CHECK(TicketKeys::Rotate(fd.get()) == -error);
  };
  std::string good = Bytes(TicketKeys::Create().get()), other_format = good;
  other_format[0] ^= 1;
  refuse(UniqueFd(), EBADF);
  refuse(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)), EINVAL);
  refuse(Sealed(good.substr(1)), EINVAL);
  refuse(Sealed(good + "x"), EINVAL);
  refuse(Sealed(good, F_SEAL_GROW), EINVAL);  // might be cut under its readers
  refuse(Sealed(other_format), EINVAL);
  std::unique_ptr<TicketKeys> keys(TicketKeys::Map(Sealed(good).get()));
  CHECK(keys != nullptr);
}

TEST_CASE("tickets: rotation moves next to current to previous") {
  TicketPage page{0, 1, {Words(100), Words(101), Words(102), Words(103)}};
  for (uint64_t generation = 1; generation < 10; generation++) {
    TicketKeySet keys;
    ReadTicketKeys(page, &keys);
    CHECK(Number(keys.previous) == static_cast<int64_t>(99 + generation));
    CHECK(Number(keys.current) == static_cast<int64_t>(100 + generation));
    CHECK(Number(keys.next) == static_cast<int64_t>(101 + generation));
    RotateTicketKeys(Words(102 + generation), &page);
  }
}

TEST_CASE("tickets: Rotate brings in a random key and keeps the other two") {
  UniqueFd fd = TicketKeys::Create();
  for (int round = 0; round < 6; round++) {
    TicketPage before, after;
    std::memcpy(&before, Bytes(fd.get()).data(), sizeof(before));
    REQUIRE(TicketKeys::Rotate(fd.get()) == 0);
    std::memcpy(&after, Bytes(fd.get()).data(), sizeof(after));
    TicketKeySet old_keys, new_keys;
    ReadTicketKeys(before, &old_keys);
    ReadTicketKeys(after, &new_keys);
    CHECK(std::memcmp(&new_keys.previous, &old_keys.current, sizeof(TicketKey)) == 0);
    CHECK(std::memcmp(&new_keys.current, &old_keys.next, sizeof(TicketKey)) == 0);
    CHECK(std::memcmp(&new_keys.next, &old_keys.previous, sizeof(TicketKey)) != 0);
    CHECK(std::memcmp(new_keys.next.aes_key, new_keys.next.hmac_key, 32) != 0);
  }
}

TEST_CASE("tickets: a writer that dies half-way leaves no trace") {
  TicketPage page{0, 1, {Words(100), Words(101), Words(102), Words(103)}};
  page.slots[3][4] = 1;  // it got so far into the free slot
  TicketKeySet keys;
  ReadTicketKeys(page, &keys);
  CHECK(Number(keys.previous) == 100);
  CHECK(Number(keys.next) == 102);
  RotateTicketKeys(Words(103), &page);
  ReadTicketKeys(page, &keys);
  CHECK(Number(keys.next) == 103);
}

TEST_CASE("tickets: readers under rotation never see a key in pieces or keys of two generations") {
  TicketPage page{0, 1, {Words(0), Words(1), Words(2), Words(3)}};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> broken{0}, reads{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; i++) {
    readers.emplace_back([&] {
      int64_t last = 0;
      while (!stop) {
        TicketKeySet keys;
        ReadTicketKeys(page, &keys);
        int64_t current = Number(keys.current);
        bool good = current >= last && Number(keys.previous) == current - 1 &&
                    Number(keys.next) == current + 1;
        if (!good) broken++;
        last = current;
        reads++;
      }
    });
  }
  // Long enough that two rotations fall into a copy many times over.
  auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
  for (uint64_t generation = 1;; generation++) {
    RotateTicketKeys(Words(generation + 2), &page);
    bool enough = generation % 1'024 == 0 && reads > 10'000;
    if (enough && std::chrono::steady_clock::now() > end) break;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(broken == 0);
}

TEST_CASE("tickets: resumption before a rotation, after one, and not after two") {
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    UniqueFd fd = TicketKeys::Create();
    std::unique_ptr<TicketKeys> keys(TicketKeys::Map(fd.get()));
    Outcome first = Connect(keys.get(), version, nullptr);
    CHECK_FALSE(first.resumed);
    REQUIRE(first.ticket().size() > 64);
    CHECK(Connect(keys.get(), version, first.session.get()).resumed);
    REQUIRE(TicketKeys::Rotate(fd.get()) == 0);
    Outcome renewed = Connect(keys.get(), version, first.session.get());
    CHECK(renewed.resumed);
    CHECK(renewed.ticket().substr(0, 16) !=
          first.ticket().substr(0, 16));  // a fresh ticket, of the new key
    REQUIRE(TicketKeys::Rotate(fd.get()) == 0);
    CHECK_FALSE(Connect(keys.get(), version, first.session.get()).resumed);
    CHECK(Connect(keys.get(), version, renewed.session.get()).resumed);
  }
}

TEST_CASE("tickets: with the current key TLS 1.2 sends no fresh ticket") {
  UniqueFd fd = TicketKeys::Create();
  std::unique_ptr<TicketKeys> keys(TicketKeys::Map(fd.get()));
  Outcome first = Connect(keys.get(), TLS1_2_VERSION, nullptr);
  Outcome second = Connect(keys.get(), TLS1_2_VERSION, first.session.get());
  CHECK(second.resumed);
  CHECK(second.ticket() == first.ticket());
}

TEST_CASE("tickets: in TLS 1.3 every resumption brings a fresh ticket, with the current key too") {
  UniqueFd fd = TicketKeys::Create();
  std::unique_ptr<TicketKeys> keys(TicketKeys::Map(fd.get()));
  Outcome first = Connect(keys.get(), TLS1_3_VERSION, nullptr);
  Outcome second = Connect(keys.get(), TLS1_3_VERSION, first.session.get());
  CHECK(second.resumed);
  CHECK(second.ticket() != first.ticket());
  CHECK(second.ticket().substr(0, 16) == first.ticket().substr(0, 16));
  CHECK(Connect(keys.get(), TLS1_3_VERSION, second.session.get()).resumed);
}

TEST_CASE("tickets: processes share them, a restarted one and one that has rotated already") {
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    UniqueFd fd = TicketKeys::Create();
    std::unique_ptr<TicketKeys> one(TicketKeys::Map(fd.get())), two(TicketKeys::Map(fd.get()));
    Outcome first = Connect(one.get(), version, nullptr);
    one.reset();
    CHECK(Connect(two.get(), version, first.session.get()).resumed);
    // Another machine, one rotation ahead: it seals with what is `next` here.
    UniqueFd ahead = Sealed(Bytes(fd.get()));
    REQUIRE(TicketKeys::Rotate(ahead.get()) == 0);
    std::unique_ptr<TicketKeys> other(TicketKeys::Map(ahead.get()));
    Outcome early = Connect(other.get(), version, nullptr);
    Outcome here = Connect(two.get(), version, early.session.get());
    CHECK(here.resumed);
    CHECK(here.ticket().substr(0, 16) == first.ticket().substr(0, 16));
  }
}

TEST_CASE("tickets: forged or foreign ones mean a full handshake") {
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    UniqueFd fd = TicketKeys::Create(), foreign = TicketKeys::Create();
    std::unique_ptr<TicketKeys> keys(TicketKeys::Map(fd.get())),
        others(TicketKeys::Map(foreign.get()));
    Outcome first = Connect(keys.get(), version, nullptr);
    CHECK_FALSE(Connect(others.get(), version, first.session.get()).resumed);
    // The same name, but another HMAC key.
    std::string bytes = Bytes(fd.get());
    size_t current = offsetof(TicketPage, slots) + sizeof(TicketKey);
    bytes[current + offsetof(TicketKey, hmac_key)] ^= 1;
    UniqueFd altered = Sealed(bytes);
    std::unique_ptr<TicketKeys> forged(TicketKeys::Map(altered.get()));
    CHECK_FALSE(Connect(forged.get(), version, first.session.get()).resumed);
  }
}

TEST_CASE("tickets: no key is left in a ticket") {
  UniqueFd fd = TicketKeys::Create();
  std::unique_ptr<TicketKeys> keys(TicketKeys::Map(fd.get()));
  std::string ticket = Connect(keys.get(), TLS1_2_VERSION, nullptr).ticket();
  TicketPage page;
  std::memcpy(&page, Bytes(fd.get()).data(), sizeof(page));
  TicketKeySet set;
  ReadTicketKeys(page, &set);
  auto text = [](const unsigned char* bytes, size_t size) {
    return std::string(reinterpret_cast<const char*>(bytes), size);
  };
  CHECK(ticket.substr(0, 16) == text(set.current.name, 16));
  CHECK(ticket.find(text(set.current.aes_key, 8)) == std::string::npos);
  CHECK(ticket.find(text(set.current.hmac_key, 8)) == std::string::npos);
  // HMAC-SHA256 over all before it (RFC 5077 section 4).
  unsigned char mac[32];
  std::string body = ticket.substr(0, ticket.size() - 32);
  EVP_Q_mac(nullptr, "HMAC", nullptr, "SHA256", nullptr, set.current.hmac_key, 32,
            reinterpret_cast<const unsigned char*>(body.data()), body.size(), mac, sizeof(mac),
            nullptr);
  CHECK(ticket.substr(body.size()) == text(mac, 32));
}
