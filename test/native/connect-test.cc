// SPDX-License-Identifier: MIT
// Backends with several addresses: what waits for the connection, the PROXY header before all,
// gets to the first address that answers, whole and once.
#include <doctest/doctest.h>

#include "live-engine.h"

using namespace ironsocket;

namespace {

uint16_t LocalPort(int fd) {
  sockaddr_in local{};
  socklen_t length = sizeof local;
  getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length);
  return ntohs(local.sin_port);
}

// What opens the stream for this client: all of it for v1, the fixed part, without TLVs, for v2.
std::string HeaderOf(ProxyProtocol protocol, const LiveClient& client, const Port& front) {
  const uint16_t from = LocalPort(client.fd()), to = ntohs(front.address.sin_port);
  if (protocol == ProxyProtocol::kV1) {
    return "PROXY TCP4 127.0.0.1 127.0.0.1 " + std::to_string(from) + " " + std::to_string(to) +
           "\r\n";
  }
  Bytes header = FromHex("0d0a0d0a000d0a515549540a 2111");
  for (int byte : {127, 0, 0, 1, 127, 0, 0, 1, from >> 8, from & 255, to >> 8, to & 255}) {
    header.push_back(static_cast<uint8_t>(byte));
  }
  return {header.begin(), header.end()};
}

// The stream to its end, without the length of v2 and its TLVs.
std::string WithoutTlvs(ProxyProtocol protocol, const Bytes& stream) {
  std::string text(stream.begin(), stream.end());
  if (protocol == ProxyProtocol::kV1 || text.size() < 28) return text;
  const size_t length = static_cast<size_t>(stream[14] << 8 | stream[15]);
  REQUIRE(stream.size() >= 16 + length);
  return text.substr(0, 14) + text.substr(16, 12) + text.substr(16 + length);
}

}  // namespace

TEST_CASE("connect: the PROXY header and early data outlive addresses that fail later") {
  for (ProxyProtocol protocol : {ProxyProtocol::kV1, ProxyProtocol::kV2}) {
    LiveEngine live;
    const RefusingPort refusing;
    live.plan.listeners[0].proxy_protocol = protocol;
    live.plan.listeners[0].backend_addresses = {refusing.text, refusing.text, "unix:/nowhere",
                                                live.backend.text()};
    live.Configure();
    // Each session begins at another address.
    for (int i = 0; i < 4; i++) {
      for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        CAPTURE(i);
        CAPTURE(version);
        LiveClient client(live.front, version);
        REQUIRE(client.connected);
        REQUIRE(client.Write({'e', 'a', 'r', 'l', 'y'}));
        SSL_shutdown(client.ssl());
        const UniqueFd backend = live.backend.Accept();
        REQUIRE(backend.valid());
        CHECK(WithoutTlvs(protocol, Receive(backend.get(), 10'000)) ==
              HeaderOf(protocol, client, live.front) + "early");
      }
    }
    CHECK(live.Count(Counter::kBackendConnectFailed) == 0);
  }
}

TEST_CASE("connect: two addresses, one of them refuses later") {
  LiveEngine live;
  const RefusingPort refusing;
  live.plan.listeners[0].proxy_protocol = ProxyProtocol::kV1;
  live.plan.listeners[0].backend_addresses = {refusing.text, live.backend.text()};
  live.Configure();
  // Sessions begin at one address and the other in turn.
  for (int version : {TLS1_2_VERSION, TLS1_2_VERSION, TLS1_3_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    LiveClient client(live.front, version);
    REQUIRE(client.connected);
    // The header does not wait for the client to speak.
    const UniqueFd backend = live.backend.Accept();
    const std::string header = HeaderOf(ProxyProtocol::kV1, client, live.front);
    const Bytes got = Receive(backend.get(), header.size());
    CHECK(std::string(got.begin(), got.end()) == header);
    SSL_shutdown(client.ssl());
    CHECK(EndOf(backend.get()) == 0);
  }
}

TEST_CASE("connect: every address refuses, later or at once: internal_error, and nothing leaks") {
  LiveEngine live;
  const RefusingPort refusing;
  live.plan.listeners[0].proxy_protocol = ProxyProtocol::kV2;
  live.plan.listeners[0].backend_addresses = {refusing.text, "unix:/nowhere", refusing.text};
  live.Configure();
  for (uint64_t i = 1; i <= 3; i++) {
    for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
      CAPTURE(version);
      LiveClient client(live.front, version);
      REQUIRE(client.connected);
      CHECK(client.End() == "alert 80");
      CHECK(EndOf(client.fd()) == 0);
      client.Close(false);
      CHECK(live.Reason() == "backend_failed");
    }
    CHECK(live.Count(Counter::kBackendConnectFailed) == 2 * i);
  }
}
