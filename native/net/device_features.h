// SPDX-License-Identifier: MIT
// Features of network devices, among them whether one could carry TLS records itself
// (Documentation/networking/tls-offload.rst): what `ethtool -k` shows. Asked by SIOCETHTOOL, for
// which no privilege is needed; nothing here changes anything.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/status.h"

namespace ironsocket {

enum class FeatureState : uint8_t {
  kUnavailable,  // the device has not got it, or its driver has switched it off for good
  kOff,          // could be switched on: ethtool -K DEVICE FEATURE on
  kOn,
};
using DeviceFeatures = std::map<std::string, FeatureState>;

inline constexpr char kTlsTxFeature[] = "tls-hw-tx-offload";
inline constexpr char kTlsRxFeature[] = "tls-hw-rx-offload";

// Names of the devices of this network namespace, in the order of their indices.
Status ListDevices(std::vector<std::string>* names);

// The features of `device` by name. ENODEV: there is none.
Status ReadFeatures(const std::string& device, DeviceFeatures* features);

}  // namespace ironsocket
