// SPDX-License-Identifier: MIT
// Without ThreadSanitizer: there is one thread.
#include <doctest/doctest.h>

#include "record-oracle.h"
#include "record/post_handshake.h"

using namespace ironsocket;

namespace {

constexpr auto k12 = TlsVersion::kTls12;
constexpr auto k13 = TlsVersion::kTls13;
constexpr auto kData = ContentType::kApplicationData;

// Judges one record after the other.
struct Judging {
  TlsVersion version;
  PostHandshakeState state;

  Judgement operator()(ContentType type, Bytes content) {
    return Judge(version, Opened(type, content), &state);
  }
};

bool Is(Judgement judgement, Verdict verdict, Alert alert = Alert::kNone) {
  return judgement.verdict == verdict && judgement.alert == alert;
}
bool IsUnexpected(Judgement judgement) {
  return Is(judgement, Verdict::kFault, Alert::kUnexpectedMessage);
}

const Bytes kUpdate = {24, 0, 0, 1, 0}, kRequest = {24, 0, 0, 1, 1};

Bytes ClientHello(uint32_t length, size_t here) {
  return Concat(Bytes{1, static_cast<uint8_t>(length >> 16), static_cast<uint8_t>(length >> 8),
                      static_cast<uint8_t>(length)},
                Bytes(here));
}

}  // namespace

TEST_CASE("after the handshake: every verdict on one record") {
  struct {
    TlsVersion version;
    ContentType type;
    Bytes content;
    Verdict verdict;
    Alert alert = Alert::kNone;
  } const cases[] = {
      {k13, kData, {0}, Verdict::kData},
      {k12, kData, Pattern(16384), Verdict::kData},
      {k13, kData, {}, Verdict::kIgnore},
      {k12, kData, {}, Verdict::kIgnore},
      // Alerts. The level of TLS 1.3 means nothing (RFC 8446 section 6).
      {k13, ContentType::kAlert, {1, 0}, Verdict::kCloseNotify},
      {k13, ContentType::kAlert, {2, 0}, Verdict::kCloseNotify},
      {k12, ContentType::kAlert, {1, 0}, Verdict::kCloseNotify},
      {k12, ContentType::kAlert, {2, 0}, Verdict::kCloseNotify},
      {k13, ContentType::kAlert, {1, 90}, Verdict::kIgnore},
      {k13, ContentType::kAlert, {2, 90}, Verdict::kIgnore},
      {k12, ContentType::kAlert, {1, 90}, Verdict::kIgnore},
      {k12, ContentType::kAlert, {1, 100}, Verdict::kIgnore},
      {k12, ContentType::kAlert, {1, 41}, Verdict::kIgnore},
      {k12, ContentType::kAlert, {2, 90}, Verdict::kPeerAlert, Alert::kUserCanceled},
      {k13, ContentType::kAlert, {1, 100}, Verdict::kPeerAlert, Alert::kNoRenegotiation},
      {k13, ContentType::kAlert, {2, 20}, Verdict::kPeerAlert, Alert::kBadRecordMac},
      {k12, ContentType::kAlert, {2, 48}, Verdict::kPeerAlert, static_cast<Alert>(48)},
      // A level that TLS 1.2 does not have.
      {k12, ContentType::kAlert, {0, 0}, Verdict::kFault, Alert::kIllegalParameter},
      {k12, ContentType::kAlert, {4, 90}, Verdict::kFault, Alert::kIllegalParameter},
      {k13, ContentType::kAlert, {4, 90}, Verdict::kIgnore},
      {k13, ContentType::kAlert, {1}, Verdict::kFault, Alert::kUnexpectedMessage},
      {k13, ContentType::kAlert, {1, 0, 1, 0}, Verdict::kFault, Alert::kUnexpectedMessage},
      {k12, ContentType::kAlert, {2}, Verdict::kFault, Alert::kUnexpectedMessage},
      {k12, ContentType::kAlert, {1, 0, 0}, Verdict::kFault, Alert::kUnexpectedMessage},
      // KeyUpdate, and what is none.
      {k13, ContentType::kHandshake, kUpdate, Verdict::kKeyUpdate},
      {k13, ContentType::kHandshake, kRequest, Verdict::kKeyUpdateRequested},
      {k13, ContentType::kHandshake, {24, 0, 0, 1, 2}, Verdict::kFault, Alert::kIllegalParameter},
      {k13, ContentType::kHandshake, {24, 0, 0, 1, 255}, Verdict::kFault, Alert::kIllegalParameter},
      {k13, ContentType::kHandshake, {24, 0, 0, 2, 0, 0}, Verdict::kFault, Alert::kDecodeError},
      {k13, ContentType::kHandshake, {24, 0, 0, 0}, Verdict::kFault, Alert::kDecodeError},
      {k13, ContentType::kHandshake, {24, 1, 0, 1, 0}, Verdict::kFault, Alert::kDecodeError},
      {k13, ContentType::kHandshake, {24, 0, 1, 1, 0}, Verdict::kFault, Alert::kDecodeError},
      {k13, ContentType::kHandshake, {24}, Verdict::kFault, Alert::kUnexpectedMessage},
      {k13, ContentType::kHandshake, {24, 0, 0}, Verdict::kFault, Alert::kUnexpectedMessage},
      {k13, ContentType::kHandshake, {24, 0, 0, 1}, Verdict::kFault, Alert::kUnexpectedMessage},
      {k13, ContentType::kHandshake, Concat(kUpdate, kUpdate), Verdict::kFault,
       Alert::kUnexpectedMessage},
      {k13, ContentType::kHandshake, Concat(kUpdate, Bytes{0}), Verdict::kFault,
       Alert::kUnexpectedMessage},
      {k13, ContentType::kHandshake, ClientHello(100, 100), Verdict::kFault,
       Alert::kUnexpectedMessage},
      {k13, ContentType::kHandshake, {20, 0, 0, 1, 0}, Verdict::kFault, Alert::kUnexpectedMessage},
      {k13, ContentType::kHandshake, {4, 0, 0, 1, 0}, Verdict::kFault, Alert::kUnexpectedMessage},
      {k13, ContentType::kHandshake, {11}, Verdict::kFault, Alert::kUnexpectedMessage},
      // TLS 1.2 has no KeyUpdate, but may ask to renegotiate.
      {k12, ContentType::kHandshake, kUpdate, Verdict::kFault, Alert::kUnexpectedMessage},
      {k12, ContentType::kHandshake, ClientHello(100, 100), Verdict::kNoRenegotiation},
      {k12, ContentType::kHandshake, ClientHello(kMaxClientHello, 0), Verdict::kNoRenegotiation},
      {k12, ContentType::kHandshake, ClientHello(kMaxClientHello + 1, 0), Verdict::kFault,
       Alert::kIllegalParameter},
      {k12, ContentType::kHandshake, ClientHello(0, 0), Verdict::kNoRenegotiation},
      {k12, ContentType::kHandshake, ClientHello(99, 100), Verdict::kFault,
       Alert::kUnexpectedMessage},
      {k12, ContentType::kHandshake, {1, 0, 0}, Verdict::kFault, Alert::kUnexpectedMessage},
      {k12, ContentType::kHandshake, {0, 0, 0, 0}, Verdict::kFault, Alert::kUnexpectedMessage},
      {k12, ContentType::kHandshake, {20, 0, 0, 0}, Verdict::kFault, Alert::kUnexpectedMessage},
      {k12, ContentType::kChangeCipherSpec, {1}, Verdict::kFault, Alert::kUnexpectedMessage},
  };
  for (const auto& test : cases) {
    Judging judge{test.version, {}};
    const int type = static_cast<int>(test.type);
    const size_t size = test.content.size();
    CAPTURE(static_cast<int>(test.version));
    CAPTURE(type);
    CAPTURE(size);
    const int first = size > 0 ? test.content[0] : -1, last = size > 0 ? test.content.back() : -1;
    CAPTURE(first);
    CAPTURE(last);
    const Judgement judgement = judge(test.type, test.content);
    CHECK(static_cast<int>(judgement.verdict) == static_cast<int>(test.verdict));
    CHECK(static_cast<int>(judgement.alert) == static_cast<int>(test.alert));
  }
}

TEST_CASE("after the handshake: more than 32 KeyUpdates without data in between") {
  Judging judge{k13, {}};
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 32; i++) {
      CHECK(Is(judge(ContentType::kHandshake, kUpdate), Verdict::kKeyUpdate));
      judge(kData, {});  // an empty record is not data
    }
    CHECK(Is(judge(kData, {1}), Verdict::kData));
  }
  for (int i = 0; i < 32; i++) judge(ContentType::kHandshake, kRequest);
  CHECK(IsUnexpected(judge(ContentType::kHandshake, kUpdate)));
}

TEST_CASE("after the handshake: up to 32 empty records in a row") {
  for (TlsVersion version : {k12, k13}) {
    Judging judge{version, {}};
    for (int round = 0; round < 2; round++) {
      for (int i = 0; i < 32; i++) CHECK(Is(judge(kData, {}), Verdict::kIgnore));
      CHECK(Is(judge(kData, {1}), Verdict::kData));
    }
    for (int i = 0; i < 32; i++) judge(kData, {});
    CHECK(IsUnexpected(judge(kData, {})));
  }
}

TEST_CASE("after the handshake: up to 4 warning alerts without data in between") {
  for (TlsVersion version : {k12, k13}) {
    Judging judge{version, {}};
    for (int round = 0; round < 2; round++) {
      for (int i = 0; i < 4; i++) {
        CHECK(Is(judge(ContentType::kAlert, {1, 90}), Verdict::kIgnore));
      }
      CHECK(Is(judge(kData, {1}), Verdict::kData));
    }
    for (int i = 0; i < 4; i++) judge(ContentType::kAlert, {1, 90});
    CHECK(IsUnexpected(judge(ContentType::kAlert, {1, 90})));
    // One that means something is still understood.
    CHECK(Is(judge(ContentType::kAlert, {1, 0}), Verdict::kCloseNotify));
  }
}

TEST_CASE("after the handshake: renegotiation is refused once, the second time ends it") {
  Judging judge{k12, {}};
  CHECK(Is(judge(ContentType::kHandshake, ClientHello(200, 200)), Verdict::kNoRenegotiation));
  CHECK(Is(judge(kData, {1}), Verdict::kData));
  CHECK(IsUnexpected(judge(ContentType::kHandshake, ClientHello(200, 200))));
}

TEST_CASE(
    "after the handshake: a refused ClientHello may span records, and nothing comes between") {
  Judging judge{k12, {}};
  CHECK(Is(judge(ContentType::kHandshake, ClientHello(40'000, 16'000)), Verdict::kNoRenegotiation));
  CHECK(Is(judge(ContentType::kHandshake, Bytes(16'000)), Verdict::kIgnore));
  CHECK(judge.state.hello_left == 8'000);
  Judging more = judge, data = judge, alert = judge, end = judge;
  CHECK(IsUnexpected(more(ContentType::kHandshake, Bytes(8'001))));
  CHECK(IsUnexpected(data(kData, {1})));
  CHECK(IsUnexpected(alert(ContentType::kAlert, {1, 0})));
  CHECK(Is(end(ContentType::kHandshake, Bytes(8'000)), Verdict::kIgnore));
  CHECK(Is(end(kData, {1}), Verdict::kData));
  CHECK(IsUnexpected(end(ContentType::kHandshake, Bytes(10, 24))));
}

TEST_CASE("after the handshake: the bytes of a KeyUpdate") {
  uint8_t message[kKeyUpdateLength];
  WriteKeyUpdate(false, message);
  CHECK(Bytes(message, message + 5) == kUpdate);
  WriteKeyUpdate(true, message);
  CHECK(Bytes(message, message + 5) == kRequest);
}

TEST_CASE("after the handshake: alerts have their names of RFC 8446") {
  CHECK(AlertName(Alert::kBadRecordMac) == "bad_record_mac");
  CHECK(AlertName(Alert::kCloseNotify) == "close_notify");
  CHECK(AlertName(Alert::kUnexpectedMessage) == "unexpected_message");
  CHECK(AlertName(static_cast<Alert>(48)) == "unknown");
}
