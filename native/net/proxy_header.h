// SPDX-License-Identifier: MIT
// Builds the PROXY protocol header that goes to the backend before the first byte of the session
// (HAProxy's doc/proxy-protocol.txt, versions 1 and 2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "net/address.h"

namespace ironsocket {

enum class ProxyProtocol : uint8_t { kNone, kV1, kV2 };

// Bytes that the longest header can take (v2 with every TLV at its bound); a v1 line is at most
// 107.
inline constexpr size_t kMaxProxyHeader = 1024;

// Own TLV in the range for custom use (PP2_TYPE_MIN_CUSTOM 0xE0): which record engine carries the
// session, as text.
inline constexpr uint8_t kProxyTlvEngine = 0xE0;

// What is told about the session. All views are borrowed for the call.
struct ProxySession {
  PeerAddress client;        // where the TLS client connected from
  PeerAddress local;         // where it connected to
  std::string_view version;  // "TLSv1.3": PP2_SUBTYPE_SSL_VERSION
  std::string_view cipher;   // "TLS_AES_128_GCM_SHA256": PP2_SUBTYPE_SSL_CIPHER
  std::string_view sni;      // PP2_TYPE_AUTHORITY, left out when empty; at most 255 bytes
  std::string_view alpn;     // PP2_TYPE_ALPN, left out when empty; at most 255 bytes
  std::string_view engine;   // kProxyTlvEngine
};

// Writes the header for `version` into `out` and returns its length; 0 for kNone. Addresses of a
// family that the protocol has no words for (unix, or two different families that can't be mapped)
// become UNKNOWN (v1) and AF_UNSPEC/LOCAL-less PROXY (v2). IPv4-mapped IPv6 addresses are written
// as IPv4 when both ends are.
size_t WriteProxyHeader(ProxyProtocol version, const ProxySession& session,
                        std::span<uint8_t, kMaxProxyHeader> out);

}  // namespace ironsocket
