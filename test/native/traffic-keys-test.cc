// SPDX-License-Identifier: MIT
// Expected bytes are those of RFC 8448 section 3, or derived a second way in record-oracle.h.
// Without ThreadSanitizer: there is one thread.
#include <doctest/doctest.h>

#include <type_traits>

#include "record-oracle.h"
#include "record/traffic_keys.h"

using namespace ironsocket;

namespace {

Bytes KeyBytes(const TrafficKeys& keys) {
  return Bytes(keys.key, keys.key + CipherOf(keys.cipher).key_length);
}
Bytes IvBytes(const TrafficKeys& keys, size_t length = kIvLength) {
  return Bytes(keys.iv, keys.iv + length);
}
const char* Digest(const Suite& suite) { return suite.hash_length == 48 ? "SHA384" : "SHA256"; }

// P_hash of RFC 5246 section 5.
Bytes OraclePrf(const char* digest, const Bytes& secret, const Bytes& seed, size_t length) {
  auto hmac = [&](const Bytes& input) {
    Bytes mac(64);
    size_t size = 0;
    EVP_Q_mac(nullptr, "HMAC", nullptr, digest, nullptr, secret.data(), secret.size(), input.data(),
              input.size(), mac.data(), mac.size(), &size);
    mac.resize(size);
    return mac;
  };
  Bytes out;
  for (Bytes a = hmac(seed); out.size() < length; a = hmac(a)) {
    Bytes next = hmac(Concat(a, seed));
    out.insert(out.end(), next.begin(), next.end());
  }
  out.resize(length);
  return out;
}

}  // namespace

TEST_CASE("keys: the application traffic keys of RFC 8448") {
  const Suite& suite = *SuiteById(0x1301);
  TrafficKeys client, server;
  Bytes secret = FromHex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
  REQUIRE(KeysFromTrafficSecret(suite, secret, &client));
  CHECK(KeyBytes(client) == FromHex("17422dda596ed5d9acd890e3c63f5051"));
  CHECK(IvBytes(client) == FromHex("5b78923dee08579033e523d9"));
  CHECK(Bytes(client.secret, client.secret + 32) == secret);
  secret = FromHex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
  REQUIRE(KeysFromTrafficSecret(suite, secret, &server));
  CHECK(KeyBytes(server) == FromHex("9f02283b6c9c07efc26bb9f2ac92e356"));
  CHECK(IvBytes(server) == FromHex("cf782b88dd83549aadf1e984"));
  CHECK(client.id != 0);
  CHECK(client.id != server.id);
}

TEST_CASE("keys: the records of RFC 8448 open, and seal to the same bytes") {
  const Suite& suite = *SuiteById(0x1301);
  Aead aead;
  Bytes content(50);
  for (size_t i = 0; i < content.size(); i++) content[i] = static_cast<uint8_t>(i);
  TrafficKeys client, server;
  REQUIRE(KeysFromTrafficSecret(
      suite, FromHex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"), &client));
  REQUIRE(KeysFromTrafficSecret(
      suite, FromHex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"), &server));
  const Bytes client_data = FromHex(
      "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a2044"
      "1e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4");
  OpenResult data = OpenOne(aead, client, client_data);
  CHECK(data.alert == Alert::kNone);
  CHECK(data.type == ContentType::kApplicationData);
  CHECK(data.content == content);
  OpenResult alert =
      OpenOne(aead, client, FromHex("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"));
  CHECK(alert.type == ContentType::kAlert);
  CHECK(alert.content == Bytes{1, 0});
  // The server's session ticket was its record 0.
  server.sequence = 1;
  Bytes record(kHeaderLength + 50 + 1 + kTagLength);
  std::memcpy(record.data() + kHeaderLength, content.data(), content.size());
  CHECK(SealRecord(aead, server, ContentType::kApplicationData, record.data(), 50) ==
        record.size());
  CHECK(record ==
        FromHex("17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97"
                "d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d"));
  Bytes close_notify(kHeaderLength + 2 + 1 + kTagLength);
  close_notify[kHeaderLength] = 1;
  REQUIRE(SealRecord(aead, server, ContentType::kAlert, close_notify.data(), 2) == 24);
  CHECK(close_notify == FromHex("1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"));
}

TEST_CASE("keys: every suite of TLS 1.3, and 40 generations of each") {
  for (uint16_t id : kSuites13) {
    const Suite& suite = *SuiteById(id);
    CAPTURE(std::string(suite.name));
    Bytes secret = Pattern(suite.hash_length, id);
    TrafficKeys keys;
    REQUIRE(KeysFromTrafficSecret(suite, secret, &keys));
    uint64_t last_id = 0;
    for (uint32_t generation = 0; generation <= 40; generation++) {
      CHECK(keys.generation == generation);
      CHECK(keys.sequence == 0);
      CHECK(keys.id != last_id);
      CHECK(keys.version == TlsVersion::kTls13);
      CHECK(keys.cipher == suite.cipher);
      CHECK(Bytes(keys.secret, keys.secret + suite.hash_length) == secret);
      CHECK(KeyBytes(keys) ==
            OracleExpandLabel(Digest(suite), secret, "key", CipherOf(suite.cipher).key_length));
      CHECK(IvBytes(keys) == OracleExpandLabel(Digest(suite), secret, "iv", 12));
      last_id = keys.id;
      keys.sequence = 7;
      REQUIRE(NextGeneration(&keys));
      secret = OracleExpandLabel(Digest(suite), secret, "traffic upd", suite.hash_length);
    }
  }
}

TEST_CASE("keys: the key block of every suite of TLS 1.2") {
  size_t count = 0;
  const Suite* suites = Suites(&count);
  int seen = 0;
  for (size_t i = 0; i < count; i++) {
    const Suite& suite = suites[i];
    if (suite.version != TlsVersion::kTls12) continue;
    CAPTURE(std::string(suite.name));
    const Bytes master = Pattern(48, suite.id), client_random = Pattern(32, 2),
                server_random = Pattern(32, 3);
    TrafficKeys client, server;
    REQUIRE(KeysFromMasterSecret(
        suite, master, std::span<const uint8_t, 32>(client_random.data(), 32),
        std::span<const uint8_t, 32>(server_random.data(), 32), &client, &server));
    Bytes seed;
    for (char c : std::string("key expansion")) seed.push_back(static_cast<uint8_t>(c));
    seed = Concat(Concat(seed, server_random), client_random);
    const size_t key = CipherOf(suite.cipher).key_length;
    const size_t iv = suite.cipher == CipherType::kChacha20Poly1305 ? 12 : 4;
    const Bytes block = OraclePrf(Digest(suite), master, seed, 2 * (key + iv));
    auto part = [&](size_t begin, size_t size) {
      return Bytes(block.begin() + static_cast<ptrdiff_t>(begin),
                   block.begin() + static_cast<ptrdiff_t>(begin + size));
    };
    CHECK(KeyBytes(client) == part(0, key));
    CHECK(KeyBytes(server) == part(key, key));
    CHECK(IvBytes(client, iv) == part(2 * key, iv));
    CHECK(IvBytes(server, iv) == part(2 * key + iv, iv));
    CHECK(client.id != server.id);
    CHECK(client.explicit_nonces() == (iv == 4));
    CHECK(client.prefix() == (iv == 4 ? 13u : 5u));
    CHECK(client.suffix() == 16);
    CHECK(client.sequence + client.explicit_nonce + server.sequence == 0);
    seen++;
  }
  CHECK(seen == 7);
}

TEST_CASE("keys: a secret of the wrong length gives no keys") {
  TrafficKeys keys;
  CHECK_FALSE(KeysFromTrafficSecret(*SuiteById(0x1301), Pattern(48), &keys));
  CHECK_FALSE(KeysFromTrafficSecret(*SuiteById(0x1302), Pattern(32), &keys));
  CHECK_FALSE(KeysFromTrafficSecret(*SuiteById(0x1301), {}, &keys));
  CHECK(keys.id == 0);
}

TEST_CASE("keys: moved keys are wiped where they were") {
  static_assert(std::is_standard_layout_v<TrafficKeys>);
  static_assert(!std::is_copy_constructible_v<TrafficKeys>);
  static_assert(!std::is_copy_assignable_v<TrafficKeys>);
  TrafficKeys keys = KeysOf(0x1302), twin = Twin(keys);
  TrafficKeys moved = std::move(keys);
  const Bytes zeros(sizeof(TrafficKeys));
  CHECK(std::memcmp(&keys, zeros.data(), zeros.size()) == 0);
  CHECK(std::memcmp(&moved, &twin, sizeof twin) == 0);
  // A destroyed object leaves nothing either.
  alignas(TrafficKeys) unsigned char place[sizeof(TrafficKeys)];
  auto* placed = new (place) TrafficKeys(std::move(moved));
  CHECK(std::memcmp(place, &twin, sizeof twin) == 0);
  placed->~TrafficKeys();
  volatile const unsigned char* left = place;
  int nonzero = 0;
  for (size_t i = 0; i < sizeof place; i++) nonzero += left[i] != 0;
  CHECK(nonzero == 0);
}
