// SPDX-License-Identifier: MIT
#include "net/proxy_header.h"

#include <arpa/inet.h>

#include <cstdio>
#include <cstring>
#include <optional>

namespace ironsocket {
namespace {

// Numbers of section 2.2 of proxy-protocol.txt.
constexpr uint8_t kSignature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                    0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
constexpr uint8_t kVersion2Proxy = 0x21;
constexpr uint8_t kUnspec = 0x00;
constexpr uint8_t kTcp4 = 0x11;
constexpr uint8_t kTcp6 = 0x21;
constexpr uint8_t kTlvAlpn = 0x01;
constexpr uint8_t kTlvAuthority = 0x02;
constexpr uint8_t kTlvSsl = 0x20;
constexpr uint8_t kSslVersion = 0x21;
constexpr uint8_t kSslCipher = 0x23;
constexpr uint8_t kClientSsl = 0x01;

constexpr size_t kFixed = sizeof(kSignature) + 4;
constexpr size_t kTlvHead = 3;
constexpr size_t kMaxName = 255;  // SNI and ALPN
constexpr size_t kMaxWord = 128;  // version, cipher, engine
static_assert(kFixed + 36 + 2 * (kTlvHead + kMaxName) + (kTlvHead + 5) +
                  3 * (kTlvHead + kMaxWord) <=
              kMaxProxyHeader);

// Both ends in one family, in network byte order; family is AF_UNSPEC where they have none in
// common.
struct Pair {
  int family = AF_UNSPEC;
  in_addr source4{}, destination4{};
  in6_addr source6{}, destination6{};
};

std::optional<in_addr> AsV4(const PeerAddress& address) {
  if (address.family() == AF_INET) return address.v4.sin_addr;
  if (address.family() != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&address.v6.sin6_addr)) {
    return std::nullopt;
  }
  in_addr mapped;
  std::memcpy(&mapped, &address.v6.sin6_addr.s6_addr[12], sizeof(mapped));
  return mapped;
}

// IPv4 becomes ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
std::optional<in6_addr> AsV6(const PeerAddress& address) {
  if (address.family() == AF_INET6) return address.v6.sin6_addr;
  if (address.family() != AF_INET) return std::nullopt;
  in6_addr mapped{};
  mapped.s6_addr[10] = mapped.s6_addr[11] = 0xff;
  std::memcpy(&mapped.s6_addr[12], &address.v4.sin_addr, sizeof(address.v4.sin_addr));
  return mapped;
}

Pair CommonFamily(const ProxySession& session) {
  Pair pair;
  if (auto source = AsV4(session.client), destination = AsV4(session.local);
      source && destination) {
    pair.family = AF_INET;
    pair.source4 = *source;
    pair.destination4 = *destination;
  } else if (auto source6 = AsV6(session.client), destination6 = AsV6(session.local);
             source6 && destination6) {
    pair.family = AF_INET6;
    pair.source6 = *source6;
    pair.destination6 = *destination6;
  }
  return pair;
}

class ByteWriter {
 public:
  explicit ByteWriter(uint8_t* out) : out_(out) {}
  void Byte(uint8_t value) { out_[size_++] = value; }
  void Bytes(const void* bytes, size_t length) {
    std::memcpy(out_ + size_, bytes, length);
    size_ += length;
  }
  void U16(uint16_t value) {
    PutU16(size_, value);
    size_ += 2;
  }
  void PutU16(size_t at, size_t value) {
    out_[at] = static_cast<uint8_t>(value >> 8);
    out_[at + 1] = static_cast<uint8_t>(value);
  }
  // A value beyond its bound is left out, never cut: a cut name is another name.
  void Tlv(uint8_t type, std::string_view value, size_t limit) {
    if (value.empty() || value.size() > limit) return;
    Byte(type);
    U16(static_cast<uint16_t>(value.size()));
    Bytes(value.data(), value.size());
  }
  size_t size() const { return size_; }

 private:
  uint8_t* out_;
  size_t size_ = 0;
};

void WriteSslTlv(const ProxySession& session, ByteWriter* out) {
  out->Byte(kTlvSsl);
  size_t length_at = out->size();
  out->U16(0);
  out->Byte(kClientSsl);
  // `verify` is zero only when the client presented a certificate that was verified.
  constexpr uint8_t kNotVerified[4] = {0, 0, 0, 1};
  out->Bytes(kNotVerified, sizeof(kNotVerified));
  out->Tlv(kSslVersion, session.version, kMaxWord);
  out->Tlv(kSslCipher, session.cipher, kMaxWord);
  out->PutU16(length_at, out->size() - length_at - 2);
}

size_t WriteV2(const ProxySession& session, uint8_t* bytes) {
  Pair pair = CommonFamily(session);
  ByteWriter out(bytes);
  out.Bytes(kSignature, sizeof(kSignature));
  out.Byte(kVersion2Proxy);
  out.Byte(pair.family == AF_INET ? kTcp4 : pair.family == AF_INET6 ? kTcp6 : kUnspec);
  out.U16(0);
  if (pair.family == AF_INET) {
    out.Bytes(&pair.source4, sizeof(pair.source4));
    out.Bytes(&pair.destination4, sizeof(pair.destination4));
  } else if (pair.family == AF_INET6) {
    out.Bytes(&pair.source6, sizeof(pair.source6));
    out.Bytes(&pair.destination6, sizeof(pair.destination6));
  }
  if (pair.family != AF_UNSPEC) {
    out.U16(session.client.port());
    out.U16(session.local.port());
  }
  out.Tlv(kTlvAlpn, session.alpn, kMaxName);
  out.Tlv(kTlvAuthority, session.sni, kMaxName);
  WriteSslTlv(session, &out);
  out.Tlv(kProxyTlvEngine, session.engine, kMaxWord);
  out.PutU16(kFixed - 2, out.size() - kFixed);
  return out.size();
}

size_t WriteV1(const ProxySession& session, char* text) {
  Pair pair = CommonFamily(session);
  char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
  if (pair.family == AF_INET) {
    inet_ntop(AF_INET, &pair.source4, source, sizeof(source));
    inet_ntop(AF_INET, &pair.destination4, destination, sizeof(destination));
  } else if (pair.family == AF_INET6) {
    inet_ntop(AF_INET6, &pair.source6, source, sizeof(source));
    inet_ntop(AF_INET6, &pair.destination6, destination, sizeof(destination));
  } else {
    constexpr std::string_view kUnknown = "PROXY UNKNOWN\r\n";
    std::memcpy(text, kUnknown.data(), kUnknown.size());
    return kUnknown.size();
  }
  int length = std::snprintf(text, kMaxProxyHeader, "PROXY TCP%c %s %s %u %u\r\n",
                             pair.family == AF_INET ? '4' : '6', source, destination,
                             session.client.port(), session.local.port());
  return static_cast<size_t>(length);
}

}  // namespace

size_t WriteProxyHeader(ProxyProtocol version, const ProxySession& session,
                        std::span<uint8_t, kMaxProxyHeader> out) {
  switch (version) {
    case ProxyProtocol::kNone:
      return 0;
    case ProxyProtocol::kV1:
      return WriteV1(session, reinterpret_cast<char*>(out.data()));
    case ProxyProtocol::kV2:
      return WriteV2(session, out.data());
  }
  return 0;
}

}  // namespace ironsocket
