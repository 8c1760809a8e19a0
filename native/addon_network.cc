// SPDX-License-Identifier: MIT
// The addon's look at network devices.
#include <uv.h>

#include "addon.h"
#include "net/device_features.h"

namespace ironsocket {
namespace {

const char* StateName(const DeviceFeatures& features, const char* name) {
  auto found = features.find(name);
  if (found == features.end()) return "unavailable";
  switch (found->second) {
    case FeatureState::kOn:
      return "on";
    case FeatureState::kOff:
      return "off";
    case FeatureState::kUnavailable:
      break;
  }
  return "unavailable";
}

Value TellDeviceOffloads(const CallbackInfo& info) {
  std::vector<std::string> names;
  if (Status status = ListDevices(&names); !status.ok()) return Done(info, status);
  return ToArray(info.Env(), names, [&](const std::string& name) {
    DeviceFeatures features;
    Status status = ReadFeatures(name, &features);
    auto out = Napi::Object::New(info.Env());
    out.Set("device", name);
    out.Set("error", status.ok() ? "" : uv_err_name(-status.error));
    out.Set("tx", StateName(features, kTlsTxFeature));
    out.Set("rx", StateName(features, kTlsRxFeature));
    return out;
  });
}

}  // namespace

std::span<const Export> NetworkExports() {
  static constexpr Export kExports[] = {{"deviceOffloads", TellDeviceOffloads}};
  return kExports;
}

}  // namespace ironsocket
