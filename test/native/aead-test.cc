// SPDX-License-Identifier: MIT
// Without ThreadSanitizer: there is one thread.
#include "record/aead.h"

#include <doctest/doctest.h>

#include "record-oracle.h"

using namespace ironsocket;

namespace {

struct Sealed {
  Bytes nonce, aad, text;  // text: ciphertext and tag
};

std::span<const uint8_t, kIvLength> Nonce(const Sealed& sealed) {
  return std::span<const uint8_t, kIvLength>(sealed.nonce.data(), kIvLength);
}

// Seals a text with the code under test and compares with the oracle.
Sealed SealAndCompare(Aead& aead, const TrafficKeys& keys, size_t size, uint32_t seed) {
  Sealed sealed{Pattern(12, seed), Pattern(13, seed + 1), Pattern(size, seed + 2)};
  const Bytes expected = OracleAead(keys, sealed.nonce, sealed.aad, sealed.text, true);
  sealed.text.resize(size + kTagLength);
  CHECK(aead.Seal(keys, Nonce(sealed), sealed.aad, {sealed.text.data(), size}));
  CHECK(sealed.text == expected);
  return sealed;
}

bool Open(Aead& aead, const TrafficKeys& keys, Sealed sealed, Bytes* out = nullptr) {
  const bool opened = aead.Open(keys, Nonce(sealed), sealed.aad,
                                {sealed.text.data(), sealed.text.size() - kTagLength});
  sealed.text.resize(sealed.text.size() - kTagLength);
  if (out) *out = sealed.text;
  return opened;
}

}  // namespace

TEST_CASE("aead: all four ciphers seal as OpenSSL does and open again, at every kind of length") {
  for (uint16_t id : kSuites13) {
    CAPTURE(id);
    Aead aead;
    TrafficKeys keys = KeysOf(id), other = KeysOf(id);  // the same key for the other direction
    REQUIRE(keys.id != other.id);
    for (size_t size : {0, 1, 15, 16, 17, 255, 4096, 16384, 16385}) {
      CAPTURE(size);
      Sealed sealed = SealAndCompare(aead, keys, size, static_cast<uint32_t>(size));
      Bytes text;
      CHECK(Open(aead, other, sealed, &text));
      CHECK(text == Pattern(size, static_cast<uint32_t>(size) + 2));
    }
  }
}

TEST_CASE("aead: one changed bit anywhere and it does not open; the next one does") {
  for (uint16_t id : kSuites13) {
    CAPTURE(id);
    Aead aead;
    TrafficKeys keys = KeysOf(id), other = KeysOf(id);
    for (size_t size : {0, 33}) {
      Sealed good = SealAndCompare(aead, keys, size, 5);
      for (Bytes Sealed::*part : {&Sealed::nonce, &Sealed::aad, &Sealed::text}) {
        for (size_t bit = 0; bit < (good.*part).size() * 8; bit += 3) {
          Sealed bad = good;
          (bad.*part)[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
          CHECK_FALSE(Open(aead, other, bad));
        }
      }
      CHECK(Open(aead, other, good));
    }
  }
}

TEST_CASE("aead: 200 keys of all ciphers and both directions take turns in 64 places") {
  Aead aead;
  std::vector<TrafficKeys> sealing, opening;
  for (uint32_t i = 0; i < 200; i++) {
    sealing.push_back(KeysOf(kSuites13[i % 4], i));
    opening.push_back(KeysOf(kSuites13[i % 4], i));
  }
  for (uint32_t round = 0; round < 4; round++) {
    for (uint32_t n = 0; n < 200; n++) {
      const uint32_t i = (n * (round * 2 + 1) + round * 31) % 200;
      Sealed sealed = SealAndCompare(aead, sealing[i], 64, n);
      Bytes text;
      CHECK(Open(aead, opening[i], sealed, &text));
      CHECK(text == Pattern(64, n + 2));
    }
  }
}

TEST_CASE("aead: a forgotten key works again, and forgetting one leaves its neighbours alone") {
  Aead aead;
  TrafficKeys one = KeysOf(0x1301, 1), two = KeysOf(0x1304, 2);
  two.id = one.id + 64;  // the same place
  SealAndCompare(aead, one, 10, 1);
  aead.Forget(two.id);  // was never there
  SealAndCompare(aead, one, 10, 2);
  SealAndCompare(aead, two, 10, 3);
  aead.Forget(one.id);  // has lost its place already
  SealAndCompare(aead, two, 10, 4);
  aead.Forget(two.id);
  aead.Forget(two.id);
  SealAndCompare(aead, two, 10, 5);
  SealAndCompare(aead, one, 10, 6);
  aead.Forget(0);
  Aead untouched;
  untouched.Forget(17);
}

TEST_CASE("aead: a key may seal and open by turns, and after a failure") {
  for (uint16_t id : kSuites13) {
    CAPTURE(id);
    Aead aead;
    TrafficKeys keys = KeysOf(id);
    for (uint32_t i = 0; i < 3; i++) {
      Sealed sealed = SealAndCompare(aead, keys, 20, i);
      CHECK(Open(aead, keys, sealed));
      sealed.text[0] ^= 1;
      CHECK_FALSE(Open(aead, keys, sealed));
    }
  }
}
