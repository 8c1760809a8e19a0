// SPDX-License-Identifier: MIT
// A session with any names and addresses: the header parses again (HAProxy's
// doc/proxy-protocol.txt), and says what it was told.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "net/proxy_header.h"
#include "require.h"

using namespace ironsocket;

namespace {

// Takes up to 511 bytes off the input.
std::string_view Name(std::string_view* input) {
  if (input->size() < 2) return {};
  const size_t length = static_cast<uint8_t>((*input)[0]) + static_cast<uint8_t>((*input)[1]);
  const std::string_view name = input->substr(2, length);
  input->remove_prefix(2 + name.size());
  return name;
}

PeerAddress Address(std::string_view* input) {
  sockaddr_storage storage{};
  const size_t length = std::min<size_t>(sizeof(sockaddr_in6), input->size());
  std::memcpy(&storage, input->data(), length);
  input->remove_prefix(length);
  static constexpr sa_family_t kFamilies[] = {AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC};
  storage.ss_family = kFamilies[storage.ss_family % 4];
  return PeerAddress::From(storage);
}

size_t Get16(std::string_view bytes, size_t at) {
  return static_cast<size_t>(static_cast<uint8_t>(bytes[at])) << 8 |
         static_cast<uint8_t>(bytes[at + 1]);
}

void CheckV1(std::string_view line) {
  Require(line.starts_with("PROXY ") && line.size() <= 107 && line.ends_with("\r\n"));
  Require(line.find('\r') == line.size() - 2);
  const auto spaces = std::count(line.begin(), line.end(), ' ');
  Require(line.starts_with("PROXY UNKNOWN") ? spaces == 1 : spaces == 5);
}

void CheckTlvs(std::string_view tlvs, const ProxySession& session) {
  std::string_view sni, alpn;
  bool ssl = false;
  while (!tlvs.empty()) {
    Require(tlvs.size() >= 3);
    const size_t length = Get16(tlvs, 1);
    const auto type = static_cast<uint8_t>(tlvs[0]);
    Require(length <= tlvs.size() - 3);
    const std::string_view value = tlvs.substr(3, length);
    if (type == 1) alpn = value;
    if (type == 2) sni = value;
    if (type == 0x20) ssl = value.size() >= 5;
    tlvs.remove_prefix(3 + length);
  }
  Require(ssl);
  Require(session.sni.size() > 255 ? sni.empty() : sni == session.sni);
  Require(session.alpn.size() > 255 ? alpn.empty() : alpn == session.alpn);
}

void CheckV2(std::string_view header, const ProxySession& session) {
  Require(header.size() >= 16 &&
          header.starts_with(std::string_view("\r\n\r\n\0\r\nQUIT\n\x21", 13)));
  Require(Get16(header, 14) == header.size() - 16);
  const auto family = static_cast<uint8_t>(header[13]);
  Require(family == 0x11 || family == 0x21 || family == 0);
  const size_t addresses = family == 0x11 ? 12 : family == 0x21 ? 36 : 0;
  Require(header.size() >= 16 + addresses);
  CheckTlvs(header.substr(16 + addresses), session);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(bytes), size);
  ProxySession session;
  session.client = Address(&input);
  session.local = Address(&input);
  for (std::string_view* name :
       {&session.sni, &session.alpn, &session.version, &session.cipher, &session.engine}) {
    *name = Name(&input);
  }
  std::array<uint8_t, kMaxProxyHeader> out;
  for (ProxyProtocol version : {ProxyProtocol::kNone, ProxyProtocol::kV1, ProxyProtocol::kV2}) {
    const size_t length = WriteProxyHeader(version, session, out);
    Require(length <= out.size());
    const std::string_view header(reinterpret_cast<const char*>(out.data()), length);
    if (version == ProxyProtocol::kNone) Require(header.empty());
    if (version == ProxyProtocol::kV1) CheckV1(header);
    if (version == ProxyProtocol::kV2) CheckV2(header, session);
  }
  return 0;
}
