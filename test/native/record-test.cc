// SPDX-License-Identifier: MIT
// One record: what goes over the wire, and every alert of RFC 8446 section 5 and RFC 5246 section
// 6.2. Records to open are made by the oracle, records that were sealed are opened by it.
// Without ThreadSanitizer: there is one thread.
#include "record/record.h"

#include <doctest/doctest.h>

#include "record-oracle.h"

using namespace ironsocket;

namespace {

Bytes Seal(Aead& aead, TrafficKeys& keys, ContentType type, const Bytes& content) {
  Bytes record(keys.prefix() + content.size() + keys.suffix());
  std::copy(content.begin(), content.end(), record.begin() + static_cast<ptrdiff_t>(keys.prefix()));
  const size_t length = SealRecord(aead, keys, type, record.data(), content.size());
  CHECK(length == record.size());
  return record;
}

Bytes Padded(const Bytes& content, uint8_t type, size_t zeros) {
  return Concat(Concat(content, Bytes{type}), Bytes(zeros));
}

}  // namespace

TEST_CASE("record: what is sealed is byte for byte what the oracle seals") {
  for (uint16_t id : kEverySuite) {
    CAPTURE(id);
    Aead aead;
    TrafficKeys keys = KeysOf(id), oracle = KeysOf(id);
    const bool tls13 = keys.version == TlsVersion::kTls13;
    keys.sequence = oracle.sequence = 0xfffffffe;  // carries over 32 bits
    keys.explicit_nonce = 0xfffffffffffffffe;      // and wraps: OpenSSL starts it anywhere
    uint64_t nonce = keys.explicit_nonce;
    for (ContentType type :
         {ContentType::kApplicationData, ContentType::kAlert, ContentType::kHandshake}) {
      for (size_t size : {0, 1, 2, 1000, 16384}) {
        const Bytes content = Pattern(size);
        const auto number = static_cast<uint8_t>(type);
        const Bytes expected = Forge(oracle, tls13 ? 23 : number,
                                     tls13 ? Concat(content, Bytes{number}) : content, nonce++);
        oracle.sequence++;
        CHECK(Seal(aead, keys, type, content) == expected);
        CHECK(keys.sequence == oracle.sequence);
      }
    }
  }
}

TEST_CASE("record: records of the oracle open in order, all types and lengths") {
  for (uint16_t id : kEverySuite) {
    CAPTURE(id);
    Aead aead;
    TrafficKeys keys = KeysOf(id), oracle = KeysOf(id);
    keys.sequence = oracle.sequence = 0xffff;
    for (ContentType type :
         {ContentType::kApplicationData, ContentType::kAlert, ContentType::kHandshake}) {
      for (size_t size : {1, 2, 1000, 16384}) {
        OpenResult result = OpenOne(aead, keys, ForgeNext(oracle, type, Pattern(size)));
        CHECK(result.alert == Alert::kNone);
        CHECK(result.type == type);
        CHECK(result.content == Pattern(size));
      }
    }
    OpenResult empty = OpenOne(aead, keys, ForgeNext(oracle, ContentType::kApplicationData, {}));
    CHECK(empty.alert == Alert::kNone);
    CHECK(empty.content.empty());
  }
}

TEST_CASE("record: only application data may be empty") {
  for (uint16_t id : kEverySuite) {
    CAPTURE(id);
    for (ContentType type : {ContentType::kAlert, ContentType::kHandshake}) {
      Aead aead;
      TrafficKeys keys = KeysOf(id), oracle = KeysOf(id);
      CHECK(OpenOne(aead, keys, ForgeNext(oracle, type, {})).alert == Alert::kUnexpectedMessage);
    }
  }
  Aead aead;
  TrafficKeys keys = KeysOf(0xC02B);
  CHECK(OpenOne(aead, keys, Forge(keys, 20, {})).alert == Alert::kUnexpectedMessage);
}

TEST_CASE("record: the header's alerts") {
  struct {
    uint16_t suite;
    uint8_t header[5];
    Alert alert;
  } const cases[] = {
      // TLS 1.3: 17 bytes at least, 2^14 + 256 at most.
      {0x1301, {23, 3, 3, 0, 17}, Alert::kNone},
      {0x1301, {23, 3, 3, 0x41, 0x00}, Alert::kNone},
      {0x1301, {23, 3, 3, 0x41, 0x01}, Alert::kRecordOverflow},
      {0x1301, {23, 3, 3, 0xff, 0xff}, Alert::kRecordOverflow},
      {0x1301, {23, 3, 3, 0, 16}, Alert::kBadRecordMac},
      {0x1301, {23, 3, 3, 0, 0}, Alert::kBadRecordMac},
      {0x1301, {22, 3, 3, 0, 40}, Alert::kUnexpectedMessage},
      {0x1301, {21, 3, 3, 0, 2}, Alert::kUnexpectedMessage},
      {0x1301, {20, 3, 3, 0, 1}, Alert::kUnexpectedMessage},
      {0x1301, {24, 3, 3, 0, 40}, Alert::kUnexpectedMessage},
      {0x1301, {0, 0, 0, 0, 0}, Alert::kUnexpectedMessage},
      {0x1301, {0x80, 0x2e, 1, 0, 2}, Alert::kUnexpectedMessage},  // SSLv2
      {0x1301, {23, 3, 1, 0, 40}, Alert::kDecodeError},
      {0x1301, {23, 3, 4, 0, 40}, Alert::kDecodeError},
      {0x1301, {23, 2, 3, 0, 40}, Alert::kDecodeError},
      {0x1304, {23, 3, 3, 0, 17}, Alert::kNone},
      // TLS 1.2: types 20 to 23, 2^14 + 2048 at most, nonce and tag at least.
      {0xC02B, {20, 3, 3, 0, 24}, Alert::kNone},
      {0xC02B, {23, 3, 3, 0x48, 0x00}, Alert::kNone},
      {0xC02B, {23, 3, 3, 0x48, 0x01}, Alert::kRecordOverflow},
      {0xC02B, {23, 3, 3, 0, 23}, Alert::kBadRecordMac},
      {0xC0AC, {23, 3, 3, 0, 24}, Alert::kNone},
      {0xC0AC, {23, 3, 3, 0, 23}, Alert::kBadRecordMac},
      {0xCCA9, {23, 3, 3, 0, 16}, Alert::kNone},
      {0xCCA9, {23, 3, 3, 0, 15}, Alert::kBadRecordMac},
      {0xC02B, {19, 3, 3, 0, 40}, Alert::kUnexpectedMessage},
      {0xC02B, {24, 3, 3, 0, 40}, Alert::kUnexpectedMessage},  // heartbeat
      {0xC02B, {23, 3, 1, 0, 40}, Alert::kProtocolVersion},
      {0xC02B, {23, 3, 4, 0, 40}, Alert::kProtocolVersion},
      {0xC02B, {23, 0, 3, 0, 40}, Alert::kProtocolVersion},
  };
  for (const auto& test : cases) {
    const Bytes header(test.header, test.header + 5);
    CAPTURE(test.suite);
    CAPTURE(header[0]);
    CAPTURE(header[3] << 8 | header[4]);
    const TrafficKeys keys = KeysOf(test.suite);
    size_t length = 0;
    CHECK(ParseHeader(keys, std::span<const uint8_t, 5>(test.header), &length) == test.alert);
    if (test.alert == Alert::kNone) CHECK(length == 5u + (header[3] << 8 | header[4]));
  }
}

TEST_CASE("record: one changed bit anywhere is bad_record_mac, and does not count") {
  for (uint16_t id : kEverySuite) {
    CAPTURE(id);
    Aead aead;
    TrafficKeys keys = KeysOf(id), oracle = KeysOf(id);
    const Bytes good = ForgeNext(oracle, ContentType::kApplicationData, Pattern(20));
    for (size_t bit = kHeaderLength * 8; bit < good.size() * 8; bit++) {
      Bytes bad = good;
      bad[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      CHECK(OpenOne(aead, keys, bad).alert == Alert::kBadRecordMac);
    }
    if (keys.version == TlsVersion::kTls12) {
      Bytes other_type = good;
      other_type[0] = 22;
      CHECK(OpenOne(aead, keys, other_type).alert == Alert::kBadRecordMac);
    }
    CHECK(keys.sequence == 0);
    CHECK(OpenOne(aead, keys, good).alert == Alert::kNone);
    CHECK(OpenOne(aead, keys, good).alert == Alert::kBadRecordMac);  // the same one again
    CHECK(keys.sequence == 1);
  }
}

TEST_CASE("record: a record too many, too early or of another key is bad_record_mac") {
  for (uint16_t id : kEverySuite) {
    CAPTURE(id);
    Aead aead;
    TrafficKeys keys = KeysOf(id), oracle = KeysOf(id), stranger = KeysOf(id, 2);
    ForgeNext(oracle, ContentType::kApplicationData, Pattern(3));
    const Bytes second = ForgeNext(oracle, ContentType::kApplicationData, Pattern(3));
    CHECK(OpenOne(aead, keys, second).alert == Alert::kBadRecordMac);
    const Bytes foreign = ForgeNext(stranger, ContentType::kApplicationData, Pattern(3));
    CHECK(OpenOne(aead, keys, foreign).alert == Alert::kBadRecordMac);
  }
}

TEST_CASE("record: padding of TLS 1.3 is taken off, and counts") {
  Aead aead;
  for (uint16_t id : kSuites13) {
    TrafficKeys keys = KeysOf(id);
    for (size_t zeros : {1, 2, 255, 16379}) {
      CAPTURE(zeros);
      OpenResult result =
          OpenOne(aead, keys, Forge(keys, 23, Padded(Bytes{'d', 'a', 0, 0, 0}, 23, zeros)));
      CHECK(result.alert == Alert::kNone);
      CHECK(result.content == Bytes{'d', 'a', 0, 0, 0});
    }
    OpenResult padded_only = OpenOne(aead, keys, Forge(keys, 23, Padded({}, 23, 16384)));
    CHECK(padded_only.alert == Alert::kNone);
    CHECK(padded_only.content.empty());
  }
}

TEST_CASE("record: what may stand inside a record of TLS 1.3") {
  struct {
    const char* what;
    Bytes inner;
    Alert alert;
  } const cases[] = {
      {"nothing but zeros", Bytes(40), Alert::kUnexpectedMessage},
      {"one zero", Bytes(1), Alert::kUnexpectedMessage},
      {"change_cipher_spec", Padded({1}, 20, 0), Alert::kUnexpectedMessage},
      {"heartbeat", Padded({1}, 24, 0), Alert::kUnexpectedMessage},
      {"invalid", Padded({1}, 255, 3), Alert::kUnexpectedMessage},
      {"type 1", Padded({1}, 1, 0), Alert::kUnexpectedMessage},
      {"an alert", Padded({1, 0}, 21, 9), Alert::kNone},
      {"a handshake message", Padded({24, 0, 0, 1, 0}, 22, 0), Alert::kNone},
      {"an empty alert", Padded({}, 21, 5), Alert::kUnexpectedMessage},
      {"an empty handshake message", Padded({}, 22, 0), Alert::kUnexpectedMessage},
      {"2^14 bytes", Padded(Pattern(16384), 23, 0), Alert::kNone},
      {"2^14 + 1 bytes", Padded(Pattern(16385), 23, 0), Alert::kRecordOverflow},
      {"2^14 bytes and padding", Padded(Pattern(16384), 23, 1), Alert::kRecordOverflow},
      {"much padding", Padded({1}, 23, 16384), Alert::kRecordOverflow},
      {"2^14 + 240 bytes", Padded(Pattern(16384 + 239), 23, 0), Alert::kRecordOverflow},
  };
  Aead aead;
  for (uint16_t id : kSuites13) {
    for (const auto& test : cases) {
      CAPTURE(std::string(test.what));
      TrafficKeys keys = KeysOf(id);
      CHECK(OpenOne(aead, keys, Forge(keys, 23, test.inner)).alert == test.alert);
    }
  }
}

TEST_CASE("record: more than 2^14 bytes in TLS 1.2 are record_overflow") {
  Aead aead;
  for (uint16_t id : kSuites12) {
    CAPTURE(id);
    TrafficKeys keys = KeysOf(id);
    CHECK(OpenOne(aead, keys, Forge(keys, 23, Pattern(16384))).alert == Alert::kNone);
    CHECK(OpenOne(aead, keys, Forge(keys, 23, Pattern(16385))).alert == Alert::kRecordOverflow);
    TrafficKeys most = KeysOf(id);
    const size_t size = kMaxCiphertext12 - kTagLength - (most.explicit_nonces() ? 8 : 0);
    CHECK(OpenOne(aead, most, Forge(most, 23, Pattern(size))).alert == Alert::kRecordOverflow);
  }
}

TEST_CASE("record: the sequence number ends before it wraps") {
  for (uint16_t id : kEverySuite) {
    CAPTURE(id);
    Aead aead;
    TrafficKeys sealing = KeysOf(id), opening = KeysOf(id), oracle = KeysOf(id);
    sealing.sequence = opening.sequence = oracle.sequence = UINT64_MAX - 1;
    Seal(aead, sealing, ContentType::kApplicationData, Pattern(5));
    const Bytes last = ForgeNext(oracle, ContentType::kApplicationData, Pattern(5));
    CHECK(OpenOne(aead, opening, last).alert == Alert::kNone);
    CHECK(sealing.sequence == UINT64_MAX);
    uint8_t room[64] = {};
    CHECK(SealRecord(aead, sealing, ContentType::kApplicationData, room, 5) == 0);
    CHECK(sealing.sequence == UINT64_MAX);
    const Bytes more = Forge(oracle, 23, Padded({1}, 23, 10));
    CHECK(OpenOne(aead, opening, more).alert == Alert::kInternalError);
    CHECK(opening.sequence == UINT64_MAX);
  }
}

TEST_CASE("record: keys are plain data, and go on elsewhere in the middle of a stream") {
  for (uint16_t id : kEverySuite) {
    CAPTURE(id);
    Aead here, there;
    TrafficKeys sealing = KeysOf(id), opening = KeysOf(id);
    for (int round = 0; round < 5; round++) {
      for (int i = 0; i < 3; i++) {
        Bytes record = Seal(here, sealing, ContentType::kApplicationData, Pattern(100));
        CHECK(OpenOne(there, opening, record).content == Pattern(100));
      }
      // Written out as bytes and read back, in another place and after other keys took its place.
      Bytes frame(sizeof(TrafficKeys));
      std::memcpy(frame.data(), &sealing, frame.size());
      std::memcpy(static_cast<void*>(&sealing), frame.data(), frame.size());
      opening = Twin(opening);
      if (round == 2) here.Forget(sealing.id);
      if (opening.version == TlsVersion::kTls13 && round == 3) {
        REQUIRE(NextGeneration(&sealing));
        REQUIRE(NextGeneration(&opening));
      }
    }
  }
}
