// SPDX-License-Identifier: MIT
// Without ThreadSanitizer: there is one thread.
#include <doctest/doctest.h>
#include <net/if.h>

#include <algorithm>

#include "net/device_features.h"

using namespace ironsocket;

TEST_CASE("the devices are those that have an index") {
  std::vector<std::string> names;
  REQUIRE(ListDevices(&names).ok());
  CHECK(std::find(names.begin(), names.end(), "lo") != names.end());
  for (const std::string& name : names) CHECK(if_nametoindex(name.c_str()) != 0);
}

TEST_CASE("the features of the loopback are those that its driver has always had") {
  DeviceFeatures features;
  REQUIRE(ReadFeatures("lo", &features).ok());
  CHECK(features.size() > 32);  // more than one block of bits
  REQUIRE(features.count(kTlsTxFeature) == 1);
  REQUIRE(features.count(kTlsRxFeature) == 1);
  CHECK(features[kTlsTxFeature] == FeatureState::kUnavailable);
  CHECK(features[kTlsRxFeature] == FeatureState::kUnavailable);
  CHECK(features["loopback"] == FeatureState::kOn);
  CHECK(features["rx-gro-list"] != FeatureState::kUnavailable);
  CHECK(features["tx-vlan-hw-insert"] == FeatureState::kUnavailable);
}

TEST_CASE("there is no such device") {
  DeviceFeatures features;
  CHECK(ReadFeatures("no-such-device", &features).error == ENODEV);
  CHECK(features.empty());
}
