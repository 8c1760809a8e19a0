// SPDX-License-Identifier: MIT
// The first bytes of an input choose suite and keys; the rest is what is fed.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "record/record.h"
#include "record/traffic_keys.h"

inline void Require(bool holds) {
  if (!holds) std::abort();
}

inline const ironsocket::Suite& SuiteOf(uint8_t choice) {
  static constexpr uint16_t kIds[] = {0x1301, 0x1302, 0x1303, 0x1304,
                                      0xC02B, 0xC02C, 0xCCA9, 0xC0AC};
  return *ironsocket::SuiteById(kIds[choice % 8]);
}

// The same keys every time, as the client writes.
inline ironsocket::TrafficKeys FixedKeys(uint8_t choice) {
  const ironsocket::Suite& suite = SuiteOf(choice);
  uint8_t secret[48];
  for (size_t i = 0; i < sizeof secret; i++) secret[i] = static_cast<uint8_t>(i * 5 + 1);
  ironsocket::TrafficKeys keys, other;
  const std::span<const uint8_t> bytes(secret);
  if (suite.version == ironsocket::TlsVersion::kTls13) {
    Require(KeysFromTrafficSecret(suite, bytes.first(suite.hash_length), &keys));
  } else {
    Require(KeysFromMasterSecret(suite, bytes, bytes.first<32>(), bytes.last<32>(), &keys, &other));
  }
  return keys;
}
