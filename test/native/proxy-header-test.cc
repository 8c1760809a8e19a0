// SPDX-License-Identifier: MIT
// Expected bytes are written out by hand from doc/proxy-protocol.txt.
// Without ThreadSanitizer: there is one thread.
#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <string>

#include "net/proxy_header.h"

using namespace ironsocket;
using namespace std::string_literals;

namespace {

const std::string kSignature = "\r\n\r\n\0\r\nQUIT\n"s;

PeerAddress Peer(std::string_view text) {
  return PeerAddress::From(Endpoint::Parse(text)->storage);
}

ProxySession Session(std::string_view client, std::string_view local) {
  ProxySession session;
  session.client = client.empty() ? PeerAddress() : Peer(client);
  session.local = local.empty() ? PeerAddress() : Peer(local);
  return session;
}

std::string Write(ProxyProtocol version, const ProxySession& session) {
  // Guarded by ASan: exactly as large as the contract says.
  auto out = std::make_unique<std::array<uint8_t, kMaxProxyHeader>>();
  size_t length = WriteProxyHeader(version, session, *out);
  return std::string(reinterpret_cast<char*>(out->data()), length);
}

// PP2_TYPE_SSL without sub-TLVs: client = PP2_CLIENT_SSL, verify = 1.
const std::string kBareSsl = "\x20\x00\x05\x01\x00\x00\x00\x01"s;

}  // namespace

TEST_CASE("PROXY: none writes nothing") {
  CHECK(Write(ProxyProtocol::kNone, Session("192.0.2.1:1", "192.0.2.2:2")).empty());
}

TEST_CASE("PROXY v1: the line of each family") {
  auto v1 = [](auto client, auto local) {
    return Write(ProxyProtocol::kV1, Session(client, local));
  };
  CHECK(v1("192.0.2.1:56324", "198.51.100.7:443") ==
        "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n");
  CHECK(v1("[2001:db8::1]:1", "[2001:db8::2]:65535") ==
        "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n");
  CHECK(v1("[::ffff:192.0.2.1]:5", "[::ffff:192.0.2.2]:6") ==
        "PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n");
  CHECK(v1("[::ffff:192.0.2.1]:5", "192.0.2.2:6") == "PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n");
  CHECK(v1("192.0.2.1:5", "[2001:db8::2]:6") == "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 5 6\r\n");
  CHECK(v1("unix:/a", "unix:/b") == "PROXY UNKNOWN\r\n");
  CHECK(v1("192.0.2.1:5", "unix:/b") == "PROXY UNKNOWN\r\n");
  CHECK(v1("", "") == "PROXY UNKNOWN\r\n");
}

TEST_CASE("PROXY v1: the longest line has 104 characters, within the protocol's 107") {
  std::string longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
  CHECK(Write(ProxyProtocol::kV1, Session(longest, longest)).size() == 104);
}

TEST_CASE("PROXY v2: IPv4 without names") {
  CHECK(Write(ProxyProtocol::kV2, Session("192.0.2.1:56324", "198.51.100.7:443")) ==
        kSignature + "\x21\x11\x00\x14\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb"s +
            kBareSsl);
}

TEST_CASE("PROXY v2: IPv6 with every TLV") {
  ProxySession session = Session("[2001:db8::1]:4660", "[2001:db8::2]:443");
  session.version = "TLSv1.3";
  session.cipher = "TLS_AES_128_GCM_SHA256";
  session.sni = "example.com";
  session.alpn = "h2";
  session.engine = "userspace";
  std::string addresses =
      "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"s
      "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"s
      "\x12\x34\x01\xbb"s;
  std::string tlvs =
      "\x01\x00\x02h2"s
      "\x02\x00\x0b"s
      "example.com"s
      "\x20\x00\x28\x01\x00\x00\x00\x01"s
      "\x21\x00\x07TLSv1.3"s
      "\x23\x00\x16TLS_AES_128_GCM_SHA256"s
      "\xe0\x00\x09userspace"s;
  REQUIRE(addresses.size() == 36);
  REQUIRE(tlvs.size() == 5 + 14 + 43 + 12);
  CHECK(Write(ProxyProtocol::kV2, session) == kSignature + "\x21\x21\x00\x6e"s + addresses + tlvs);
}

TEST_CASE("PROXY v2: mapped addresses are IPv4 when both ends are") {
  CHECK(Write(ProxyProtocol::kV2, Session("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2")) ==
        kSignature + "\x21\x11\x00\x14\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02"s +
            kBareSsl);
  CHECK(Write(ProxyProtocol::kV2, Session("192.0.2.1:1", "[2001:db8::2]:2")) ==
        kSignature +
            "\x21\x21\x00\x2c\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01"
            "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x00\x01\x00\x02"s +
            kBareSsl);
}

TEST_CASE("PROXY v2: without addresses it is PROXY with AF_UNSPEC, TLVs included") {
  std::string expected = kSignature + "\x21\x00\x00\x08"s + kBareSsl;
  CHECK(Write(ProxyProtocol::kV2, Session("unix:/a", "unix:/b")) == expected);
  CHECK(Write(ProxyProtocol::kV2, Session("", "")) == expected);
  CHECK(Write(ProxyProtocol::kV2, Session("192.0.2.1:1", "unix:/b")) == expected);
}

TEST_CASE("PROXY v2: names are passed byte by byte up to their bound and left out beyond it") {
  ProxySession session = Session("[2001:db8::1]:1", "[2001:db8::2]:2");
  std::string name(255, 'n'), word(128, 'w'), hostile = "a\0\r\n\xff"s;
  session.sni = session.alpn = name;
  session.version = session.cipher = session.engine = word;
  std::string longest = Write(ProxyProtocol::kV2, session);
  CHECK(longest.size() == 16 + 36 + 2 * 258 + 8 + 3 * 131);
  CHECK(longest.substr(14, 2) == "\x03\xb9"s);  // 953
  CHECK(longest.substr(52, 3) == "\x01\x00\xff"s);
  name += 'n', word += 'w';
  session.sni = session.alpn = name;
  session.version = session.cipher = session.engine = word;
  CHECK(Write(ProxyProtocol::kV2, session).substr(52) == kBareSsl);
  session.sni = hostile;
  CHECK(Write(ProxyProtocol::kV2, session).substr(52) == "\x02\x00\x05"s + hostile + kBareSsl);
}
