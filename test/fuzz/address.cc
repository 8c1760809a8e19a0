// SPDX-License-Identifier: MIT
// Any text is an address or is none; one that is prints as numbers that parse again.
#include "net/address.h"

#include <cstdint>
#include <string>

#include "require.h"

using ironsocket::Endpoint;
using ironsocket::PeerAddress;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  auto endpoint = Endpoint::Parse(std::string_view(reinterpret_cast<const char*>(bytes), size));
  if (!endpoint) return 0;
  Require(endpoint->length <= sizeof(sockaddr_storage));
  PeerAddress peer = PeerAddress::From(endpoint->storage);
  if (peer.family() == AF_UNIX) return 0;
  std::string ip = peer.ip();
  std::string host = ip.find(':') == ip.npos ? ip : "[" + ip + "]";
  auto again = Endpoint::Parse(host + ":" + std::to_string(peer.port()));
  Require(again && PeerAddress::From(again->storage).ip() == ip);
  return 0;
}
