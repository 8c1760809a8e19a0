// SPDX-License-Identifier: MIT
#include "net/device_features.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "net/unique_fd.h"

namespace ironsocket {
namespace {

// Kernels have about 70.
constexpr uint32_t kMostFeatures = 4096;

// A structure of linux/ethtool.h with the array at its end.
using Words = std::vector<uint32_t>;

// 0 or errno.
int Ask(int fd, const std::string& device, void* command) {
  ifreq request{};
  std::strncpy(request.ifr_name, device.c_str(), IFNAMSIZ - 1);
  request.ifr_data = static_cast<char*>(command);
  return ::ioctl(fd, SIOCETHTOOL, &request) == 0 ? 0 : errno;
}

int CountFeatures(int fd, const std::string& device, uint32_t* count) {
  Words words(sizeof(ethtool_sset_info) / sizeof(uint32_t) + 1);
  auto* info = reinterpret_cast<ethtool_sset_info*>(words.data());
  info->cmd = ETHTOOL_GSSET_INFO;
  info->sset_mask = uint64_t{1} << ETH_SS_FEATURES;
  if (int error = Ask(fd, device, info)) return error;
  *count = info->sset_mask == 0 ? 0 : info->data[0];
  return *count > kMostFeatures ? EOVERFLOW : 0;
}

int ReadNames(int fd, const std::string& device, uint32_t count, std::vector<std::string>* names) {
  Words words((sizeof(ethtool_gstrings) + size_t{count} * ETH_GSTRING_LEN) / sizeof(uint32_t));
  auto* strings = reinterpret_cast<ethtool_gstrings*>(words.data());
  strings->cmd = ETHTOOL_GSTRINGS;
  strings->string_set = ETH_SS_FEATURES;
  strings->len = count;
  if (int error = Ask(fd, device, strings)) return error;
  for (uint32_t i = 0; i < std::min(strings->len, count); ++i) {
    const auto* name = reinterpret_cast<const char*>(strings->data) + size_t{i} * ETH_GSTRING_LEN;
    names->emplace_back(name, ::strnlen(name, ETH_GSTRING_LEN));
  }
  return 0;
}

FeatureState StateOf(const ethtool_get_features_block& block, uint32_t bit) {
  if ((block.active & bit) != 0) return FeatureState::kOn;
  const bool changeable = (block.available & bit) != 0 && (block.never_changed & bit) == 0;
  return changeable ? FeatureState::kOff : FeatureState::kUnavailable;
}

}  // namespace

Status ListDevices(std::vector<std::string>* names) {
  std::unique_ptr<struct if_nameindex, decltype(&::if_freenameindex)> list(::if_nameindex(),
                                                                           ::if_freenameindex);
  if (!list) return Status::FromErrno("if_nameindex");
  for (const struct if_nameindex* entry = list.get(); entry->if_index != 0; ++entry) {
    names->emplace_back(entry->if_name);
  }
  return {};
}

Status ReadFeatures(const std::string& device, DeviceFeatures* features) {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Status::FromErrno("socket");
  uint32_t count = 0;
  std::vector<std::string> names;
  if (int error = CountFeatures(fd.get(), device, &count)) return {error, "SIOCETHTOOL"};
  if (int error = ReadNames(fd.get(), device, count, &names)) return {error, "SIOCETHTOOL"};
  const uint32_t blocks = (count + 31) / 32;
  Words words((sizeof(ethtool_gfeatures) + blocks * sizeof(ethtool_get_features_block)) /
              sizeof(uint32_t));
  auto* masks = reinterpret_cast<ethtool_gfeatures*>(words.data());
  masks->cmd = ETHTOOL_GFEATURES;
  masks->size = blocks;
  if (int error = Ask(fd.get(), device, masks)) return {error, "SIOCETHTOOL"};
  // The kernel counts anew each time; what it did not fill in stays 0, that is unavailable.
  for (uint32_t i = 0; i < names.size(); ++i) {
    (*features)[names[i]] = StateOf(masks->features[i / 32], uint32_t{1} << (i % 32));
  }
  return {};
}

}  // namespace ironsocket
