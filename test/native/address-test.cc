// SPDX-License-Identifier: MIT
// Without ThreadSanitizer: there is one thread.
#include "net/address.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <net/if.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

using namespace ironsocket;
using namespace std::string_literals;

namespace {

const sockaddr_in& V4(const Endpoint& endpoint) {
  return *reinterpret_cast<const sockaddr_in*>(endpoint.address());
}
const sockaddr_in6& V6(const Endpoint& endpoint) {
  return *reinterpret_cast<const sockaddr_in6*>(endpoint.address());
}
const sockaddr_un& Unix(const Endpoint& endpoint) {
  return *reinterpret_cast<const sockaddr_un*>(endpoint.address());
}
PeerAddress Peer(std::string_view text) {
  return PeerAddress::From(Endpoint::Parse(text)->storage);
}

}  // namespace

TEST_CASE("address: IPv4 with a port") {
  auto endpoint = Endpoint::Parse("192.0.2.1:8443");
  REQUIRE(endpoint);
  CHECK(endpoint->family() == AF_INET);
  CHECK(endpoint->length == sizeof(sockaddr_in));
  CHECK(endpoint->text == "192.0.2.1:8443");
  CHECK(ntohs(V4(*endpoint).sin_port) == 8443);
  CHECK(ntohl(V4(*endpoint).sin_addr.s_addr) == 0xc0000201);
  CHECK(ntohs(V4(*Endpoint::Parse("1.2.3.4:65535")).sin_port) == 65535);
  CHECK(ntohs(V4(*Endpoint::Parse("1.2.3.4:0")).sin_port) == 0);  // any free port
}

TEST_CASE("address: IPv6 with a port and a zone") {
  auto endpoint = Endpoint::Parse("[2001:db8::1]:443");
  REQUIRE(endpoint);
  CHECK(endpoint->family() == AF_INET6);
  CHECK(endpoint->length == sizeof(sockaddr_in6));
  CHECK(ntohs(V6(*endpoint).sin6_port) == 443);
  CHECK(V6(*endpoint).sin6_addr.s6_addr[0] == 0x20);
  CHECK(V6(*endpoint).sin6_addr.s6_addr[15] == 1);
  CHECK(V6(*endpoint).sin6_scope_id == 0);
  CHECK(Endpoint::Parse("[::]:1"));
  CHECK(Endpoint::Parse("[::ffff:192.0.2.1]:1"));
  CHECK(V6(*Endpoint::Parse("[fe80::1%lo]:1")).sin6_scope_id == if_nametoindex("lo"));
  CHECK(V6(*Endpoint::Parse("[fe80::1%7]:1")).sin6_scope_id == 7);
}

TEST_CASE("address: unix paths, abstract names, and their lengths") {
  auto path = Endpoint::Parse("unix:/run/backend.sock");
  REQUIRE(path);
  CHECK(path->family() == AF_UNIX);
  CHECK(Unix(*path).sun_path == "/run/backend.sock"s);
  CHECK(path->length == offsetof(sockaddr_un, sun_path) + 18);
  auto abstract = Endpoint::Parse("unix:@name");
  REQUIRE(abstract);
  CHECK(std::memcmp(Unix(*abstract).sun_path, "\0name", 5) == 0);
  CHECK(abstract->length == offsetof(sockaddr_un, sun_path) + 5);
  CHECK(Endpoint::Parse("unix:/" + std::string(106, 'a')));
  CHECK_FALSE(Endpoint::Parse("unix:/" + std::string(107, 'a')));
  CHECK(Endpoint::Parse("unix:@" + std::string(106, 'a')));
  CHECK_FALSE(Endpoint::Parse("unix:@" + std::string(107, 'a')));
}

TEST_CASE("address: everything else is refused") {
  for (const std::string& text : {""s,
                                  ":"s,
                                  ":80"s,
                                  "80"s,
                                  "1.2.3.4"s,
                                  "1.2.3.4:"s,
                                  "1.2.3.4:x"s,
                                  "1.2.3.4:65536"s,
                                  "1.2.3.4:99999999999"s,
                                  "1.2.3.4:-1"s,
                                  "1.2.3.4:+1"s,
                                  "1.2.3.4: 1"s,
                                  "1.2.3.4:1 "s,
                                  " 1.2.3.4:1"s,
                                  "1.2.3.4:080"s,
                                  "1.2.3.4:00"s,
                                  "1.2.3.4:0x50"s,
                                  "1.2.3:80"s,
                                  "1.2.3.256:80"s,
                                  "01.2.3.4:80"s,
                                  "0x7f000001:80"s,
                                  "2130706433:80"s,
                                  "localhost:80"s,
                                  "example.com:443"s,
                                  "*:80"s,
                                  "::1:80"s,
                                  "[::1]"s,
                                  "[::1]:"s,
                                  "[::1:80"s,
                                  "::1]:80"s,
                                  "[]:80"s,
                                  "[1.2.3.4]:80"s,
                                  "[::1]x:80"s,
                                  "[::1%]:80"s,
                                  "[fe80::1%no-such-if0]:80"s,
                                  "[fe80::1%0]:80"s,
                                  "[fe80::1%4294967296]:80"s,
                                  "[fe80::1%interface-name-too-long]:80"s,
                                  "[::g]:80"s,
                                  "[:::]:80"s,
                                  "unix:"s,
                                  "unix:@"s,
                                  "unix:relative"s,
                                  "unix:./x"s,
                                  "UNIX:/x"s,
                                  "1.2.3.4\0.evil.example:80"s,
                                  "1.2.3.4:80\0"s,
                                  "[::1\0]:80"s,
                                  "unix:/a\0b"s,
                                  "unix:@a\0b"s}) {
    CAPTURE(text);
    CHECK_FALSE(Endpoint::Parse(text));
  }
}

TEST_CASE("address: peers print as numbers") {
  CHECK(sizeof(PeerAddress) == 28);
  CHECK(Peer("192.0.2.1:443").ip() == "192.0.2.1");
  CHECK(Peer("192.0.2.1:443").port() == 443);
  CHECK(Peer("[2001:db8:0:0::1]:65535").ip() == "2001:db8::1");
  CHECK(Peer("[2001:db8::1]:65535").port() == 65535);
  CHECK(Peer("[::ffff:192.0.2.9]:1").ip() == "192.0.2.9");
  CHECK(Peer("[::]:1").ip() == "::");
  CHECK(Peer("unix:/x").ip() == "unix");
  CHECK(Peer("unix:/x").port() == 0);
  CHECK(PeerAddress().family() == AF_UNSPEC);
  CHECK(PeerAddress().ip() == "");
  sockaddr_storage other{};
  other.ss_family = AF_APPLETALK;
  CHECK(PeerAddress::From(other).family() == AF_UNSPEC);
  CHECK(PeerAddress::From(other).port() == 0);
}
