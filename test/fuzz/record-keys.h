// SPDX-License-Identifier: MIT
// The first bytes of an input choose suite and keys; the rest is what is fed.
#pragma once

#include <cstdint>
#include <cstring>

#include "record/record.h"
#include "record/traffic_keys.h"
#include "require.h"

inline const ironsocket::Suite& SuiteOf(uint8_t choice) {
  size_t count = 0;
  const ironsocket::Suite* suites = ironsocket::Suites(&count);
  return suites[choice % count];
}

// The same bytes in another place: what a handoff does.
inline ironsocket::TrafficKeys Twin(const ironsocket::TrafficKeys& keys) {
  ironsocket::TrafficKeys twin;
  std::memcpy(static_cast<void*>(&twin), &keys, sizeof twin);
  return twin;
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
