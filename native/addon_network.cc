// SPDX-License-Identifier: MIT
// The addon's look at network devices, and at who has connected.
#include <sys/socket.h>
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

// unix(7), SO_PEERCRED: as the kernel noted it at connect().
Value TellPeer(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  const int fd = arguments.Fd("fd");
  if (!arguments.ok()) return Undefined(info);
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return Done(info, Status::FromErrno("getsockopt"));
  }
  auto out = Napi::Object::New(info.Env());
  out.Set("pid", peer.pid);
  out.Set("uid", peer.uid);
  out.Set("gid", peer.gid);
  return out;
}

}  // namespace

std::span<const Export> NetworkExports() {
  static constexpr Export kExports[] = {
      {"deviceOffloads", TellDeviceOffloads},
      {"peerCredentials", TellPeer},
  };
  return kExports;
}

}  // namespace ironsocket
