// SPDX-License-Identifier: MIT
// KeyUpdates and alerts between OpenSSL's client and the record code under extracted keys.
// Without ThreadSanitizer: there is one thread.
#include <doctest/doctest.h>

#include "meeting.h"

using namespace ironsocket;

namespace {

// What the client sends next, judged; moves the receiving keys where they have to.
Judgement Next(Meeting& meeting, PostHandshakeState* state) {
  OurEnd::Got got = meeting.ours.Open();
  REQUIRE(got.alert == Alert::kNone);
  Judgement judgement = Judge(TlsVersion::kTls13, Opened(got.type, got.content), state);
  if (judgement.verdict == Verdict::kKeyUpdate ||
      judgement.verdict == Verdict::kKeyUpdateRequested) {
    REQUIRE(NextGeneration(&meeting.ours.rx));
  }
  return judgement;
}

void SendKeyUpdate(Meeting& meeting, bool request) {
  Bytes message(kKeyUpdateLength);
  WriteKeyUpdate(request, std::span<uint8_t, kKeyUpdateLength>(message.data(), kKeyUpdateLength));
  meeting.client.Give(meeting.ours.Seal(ContentType::kHandshake, message));
  REQUIRE(NextGeneration(&meeting.ours.tx));
}

}  // namespace

TEST_CASE("KeyUpdate: OpenSSL's client starts it, we answer, over and over") {
  for (uint16_t id : kSuites13) {
    const Suite& suite = *SuiteById(id);
    CAPTURE(std::string(suite.name));
    auto contexts = Server({.ciphers = {suite.name}, .tickets = FreshTickets()});
    Meeting meeting(*contexts, {.suite = suite.openssl_name});
    REQUIRE(meeting.done());
    PostHandshakeState state;
    for (uint32_t round = 1; round <= 5; round++) {
      const bool request = round % 2 == 1;
      REQUIRE(SSL_key_update(meeting.client.ssl(), request ? SSL_KEY_UPDATE_REQUESTED
                                                           : SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
      meeting.client.Write(Pattern(300, round));
      meeting.ours.inbound = meeting.client.Take();
      CHECK(Next(meeting, &state).verdict ==
            (request ? Verdict::kKeyUpdateRequested : Verdict::kKeyUpdate));
      CHECK(meeting.ours.rx.generation == round);
      CHECK(meeting.ours.rx.sequence == 0);
      CHECK(meeting.ours.OpenData() == Pattern(300, round));
      if (request) SendKeyUpdate(meeting, false);
      meeting.client.Give(meeting.ours.Seal(Pattern(400, round)));
      CHECK(meeting.client.Read() == Pattern(400, round));
    }
    CHECK(meeting.ours.tx.generation == 3);
  }
}

TEST_CASE("KeyUpdate: we start it, OpenSSL's client answers in front of its next data") {
  for (uint16_t id : kSuites13) {
    const Suite& suite = *SuiteById(id);
    CAPTURE(std::string(suite.name));
    auto contexts = Server({.ciphers = {suite.name}});
    Meeting meeting(*contexts, {.suite = suite.openssl_name});
    REQUIRE(meeting.done());
    PostHandshakeState state;
    for (uint32_t round = 1; round <= 4; round++) {
      meeting.client.Give(meeting.ours.Seal(Pattern(10, round)));
      SendKeyUpdate(meeting, true);
      meeting.client.Give(meeting.ours.Seal(Pattern(20, round)));
      CHECK(meeting.client.Read() == Concat(Pattern(10, round), Pattern(20, round)));
      meeting.client.Write(Pattern(30, round));
      meeting.ours.inbound = meeting.client.Take();
      CHECK(Next(meeting, &state).verdict == Verdict::kKeyUpdate);
      CHECK(meeting.ours.OpenData() == Pattern(30, round));
      CHECK(meeting.ours.rx.generation == round);
    }
  }
}

TEST_CASE("close_notify: both ways, in every version") {
  auto contexts = Server();
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    Meeting meeting(*contexts, {.min_version = version, .max_version = version});
    REQUIRE(meeting.done());
    meeting.client.Give(meeting.ours.Seal(Pattern(5)));
    meeting.client.Give(meeting.ours.Seal(ContentType::kAlert, {1, 0}));
    CHECK(meeting.client.Read() == Pattern(5));
    CHECK(meeting.client.error == SSL_ERROR_ZERO_RETURN);
    SSL_shutdown(meeting.client.ssl());
    meeting.ours.inbound = meeting.client.Take();
    OurEnd::Got got = meeting.ours.Open();
    CHECK(got.type == ContentType::kAlert);
    CHECK(got.content == Bytes{1, 0});
    CHECK(meeting.ours.inbound.empty());
  }
}

TEST_CASE("renegotiation: OpenSSL's client is refused and goes on") {
  auto contexts = Server();
  Meeting meeting(*contexts, {.max_version = TLS1_2_VERSION});
  REQUIRE(meeting.done());
  REQUIRE(SSL_renegotiate(meeting.client.ssl()) == 1);
  meeting.client.Handshake();
  meeting.ours.inbound = meeting.client.Take();
  OurEnd::Got got = meeting.ours.Open();
  PostHandshakeState state;
  CHECK(Judge(TlsVersion::kTls12, Opened(got.type, got.content), &state).verdict ==
        Verdict::kNoRenegotiation);
  CHECK(state.hello_left == 0);
}
