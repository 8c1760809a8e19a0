// SPDX-License-Identifier: MIT
// Handshakes between OpenSSL's client and Handshake, in memory; then the extracted keys talk with
// that same client, which is the oracle for both directions.
// Without ThreadSanitizer: there is one thread.
#include "handshake/handshake.h"

#include <doctest/doctest.h>

#include "meeting.h"

using namespace ironsocket;

namespace {

// Bytes in both directions, of lengths from one byte to several records.
void Talk(Meeting& meeting) {
  uint32_t seed = 1;
  for (size_t size : {1, 16384, 100, 50'000, 2}) {
    const Bytes up = Pattern(size, seed++), down = Pattern(std::min<size_t>(size, 16384), seed++);
    meeting.client.Write(up);
    meeting.ours.inbound = Concat(meeting.ours.inbound, meeting.client.Take());
    CHECK(meeting.ours.OpenData() == up);
    meeting.client.Give(meeting.ours.Seal(down));
    CHECK(meeting.client.Read() == down);
  }
}

// The explicit nonce of our Finished: the record behind our change_cipher_spec.
uint64_t FinishedNonce(const Bytes& output) {
  bool changed = false;
  for (size_t at = 0; at + 5 <= output.size();) {
    if (changed) {
      uint64_t nonce = 0;
      for (size_t i = 0; i < 8; i++) nonce = nonce << 8 | output[at + 5 + i];
      return nonce;
    }
    changed = output[at] == 20;
    at += 5u + (static_cast<size_t>(output[at + 3]) << 8 | output[at + 4]);
  }
  return 0;
}

}  // namespace

TEST_CASE("handshake: every suite, full and resumed, then bytes both ways") {
  size_t count = 0;
  const Suite* suites = Suites(&count);
  for (size_t i = 0; i < count; i++) {
    const Suite& suite = suites[i];
    CAPTURE(std::string(suite.name));
    const bool tls13 = suite.version == TlsVersion::kTls13;
    auto contexts = Server({.ciphers = {suite.name}, .tickets = FreshTickets()});
    ClientOptions options{.suite = suite.openssl_name};
    if (!tls13) options.max_version = TLS1_2_VERSION;
    SessionPtr session;
    for (bool resumed : {false, true, true}) {
      CAPTURE(resumed);
      options.session = session.get();
      Meeting meeting(*contexts, options);
      REQUIRE(meeting.done());
      CHECK(meeting.result.suite == &suite);
      CHECK(meeting.result.resumed == resumed);
      CHECK(meeting.result.max_content == 16384);
      CHECK(meeting.ours.rx.sequence == (tls13 ? 0 : 1));
      CHECK(meeting.ours.tx.sequence == (tls13 ? (resumed ? 1 : 2) : 1));
      CHECK(meeting.ours.inbound.empty());
      if (meeting.ours.tx.explicit_nonces()) {
        CHECK(meeting.ours.tx.explicit_nonce == FinishedNonce(meeting.output) + 1);
      }
      Talk(meeting);
      if (!resumed) session = meeting.client.Session();
    }
  }
}

TEST_CASE("handshake: without tickets there is none, and nothing to resume") {
  auto contexts = Server();
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    ClientOptions options{.min_version = version, .max_version = version};
    Meeting first(*contexts, options);
    REQUIRE(first.done());
    CHECK(first.ours.tx.sequence == (version == TLS1_3_VERSION ? 0 : 1));
    Talk(first);
    SessionPtr session = first.client.Session();
    options.session = session.get();
    Meeting second(*contexts, options);
    REQUIRE(second.done());
    CHECK_FALSE(second.result.resumed);
  }
}

TEST_CASE(
    "handshake: a ticket is of use at its own listener and where the keys are, nowhere else") {
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    auto tickets = FreshTickets();
    auto one = Server({.identity = "one", .tickets = tickets});
    auto one_again = Server({.identity = "one", .tickets = tickets});
    auto two = Server({.identity = "two", .tickets = tickets});
    auto other_keys = Server({.identity = "one", .tickets = FreshTickets()});
    ClientOptions options{.min_version = version, .max_version = version};
    Meeting first(*one, options);
    REQUIRE(first.done());
    first.client.Read();
    SessionPtr session = first.client.Session();
    options.session = session.get();
    for (auto [contexts, resumed] :
         {std::pair{&one_again, true}, {&two, false}, {&other_keys, false}}) {
      Meeting meeting(**contexts, options);
      REQUIRE(meeting.done());
      CHECK(meeting.result.resumed == resumed);
      Talk(meeting);
    }
  }
}

TEST_CASE("handshake: bytes that come one at a time") {
  auto contexts = Server({.tickets = FreshTickets()});
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    ClientOptions options{.min_version = version, .max_version = version};
    SessionPtr session;
    for (bool resumed : {false, true}) {
      options.session = session.get();
      Meeting meeting(*contexts, options, 1);
      REQUIRE(meeting.done());
      CHECK(meeting.result.resumed == resumed);
      Talk(meeting);
      session = meeting.client.Session();
    }
  }
}

TEST_CASE("handshake: data in the flight of the client's Finished stays outside of OpenSSL") {
  auto contexts = Server({.tickets = FreshTickets()});
  const Bytes glued = Pattern(40'000, 9);
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    ClientOptions options{.min_version = version, .max_version = version};
    Meeting first(*contexts, options);
    REQUIRE(first.done());
    first.client.Read();
    SessionPtr session = first.client.Session();
    // A client of TLS 1.2 may only do so when it resumes.
    for (bool resumed : {false, true}) {
      if (version == TLS1_2_VERSION && !resumed) continue;
      CAPTURE(resumed);
      options.session = resumed ? session.get() : nullptr;
      for (size_t chunk : {SIZE_MAX, size_t{1}, size_t{1000}}) {
        Meeting meeting(*contexts, options, chunk, glued);
        REQUIRE(meeting.done());
        CHECK(meeting.result.resumed == resumed);
        CHECK(meeting.ours.inbound.size() > glued.size());
        CHECK(meeting.ours.OpenData() == glued);
        Talk(meeting);
      }
    }
  }
}

TEST_CASE("handshake: a share for no group of ours costs a HelloRetryRequest") {
  auto contexts = Server({.tickets = FreshTickets()});
  for (size_t chunk : {SIZE_MAX, size_t{1}}) {
    Meeting meeting(*contexts, {.min_version = TLS1_3_VERSION, .groups = "P-521:P-384"}, chunk);
    REQUIRE(meeting.done());
    CHECK(SSL_get_negotiated_group(meeting.client.ssl()) == NID_secp384r1);
    CHECK(meeting.ours.tx.sequence == 2);
    Talk(meeting);
  }
  Meeting none(*contexts, {.min_version = TLS1_3_VERSION, .groups = "P-521"});
  CHECK(none.status == Handshake::Status::kFailed);
  CHECK(none.PlainAlert() == 40);  // handshake_failure
}

TEST_CASE("handshake: a client without middlebox compatibility") {
  auto contexts = Server();
  ClientOptions options{.min_version = TLS1_3_VERSION};
  MemoryClient client(options);
  SSL_clear_options(client.ssl(), SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
  Handshake handshake(*contexts);
  Handshake::Status status = Handshake::Status::kWantRead;
  for (int round = 0; round < 4 && status == Handshake::Status::kWantRead; round++) {
    client.Handshake();
    Bytes flight = client.Take(), answer;
    std::span<const uint8_t> input(flight);
    status = handshake.Advance(&input, &answer);
    client.Give(answer);
  }
  REQUIRE(status == Handshake::Status::kDone);
  HandshakeResult result;
  REQUIRE(handshake.Take(&result));
  OurEnd ours;
  ours.tx = std::move(result.tx);
  client.Give(ours.Seal(Pattern(10)));
  CHECK(client.Read() == Pattern(10));
}

TEST_CASE("handshake: max_fragment_length bounds what we send") {
  auto contexts = Server({.tickets = FreshTickets()});
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    for (uint8_t code : {1, 2, 3, 4}) {
      CAPTURE(version);
      CAPTURE(code);
      ClientOptions options{.min_version = version, .max_version = version, .max_fragment = code};
      Meeting meeting(*contexts, options);
      REQUIRE(meeting.done());
      CHECK(meeting.result.max_content == 256u << code);
      const Bytes most = Pattern(meeting.result.max_content);
      meeting.client.Give(meeting.ours.Seal(most));
      CHECK(meeting.client.Read() == most);
      // The oracle takes no byte more.
      meeting.client.Give(meeting.ours.Seal(Concat(most, Bytes{1})));
      CHECK(meeting.client.Read().empty());
      CHECK(meeting.client.error == SSL_ERROR_SSL);
    }
  }
}
