// SPDX-License-Identifier: MIT
// What the running kernel does on the way out that the kernel engine has to work around: one test
// case for each.
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <functional>

#include "sockets.h"

#ifndef TLS_TX_MAX_PAYLOAD_LEN
#define TLS_TX_MAX_PAYLOAD_LEN 5
#endif

using namespace ironsocket;

namespace {

constexpr size_t kPiece = kMaxPlaintext;
constexpr uint16_t kSuites[] = {0x1301, 0xC02B, 0xCCA9};  // every overhead of a record
// Some of them end inside a record when nobody reads, on each kernel others.
constexpr int kBuffers[] = {20'000, 40'000, 55'000, 60'000, 70'000, 80'000, 90'000};

struct Sender {
  Pair pair = Connect();
  TrafficKeys keys, opening;
  int fd = pair.kernel.get();
  uint64_t base = 0;
  size_t accepted = 0;

  explicit Sender(uint16_t suite, int buffer = 80'000)
      : keys(KeysOf(suite)), opening(KeysOf(suite)) {
    REQUIRE(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer) == 0);
    REQUIRE(InstallKeys(fd, Direction::kSend, keys) == 0);
    base = InTcp();
  }

  // Bytes that TCP has taken so far.
  uint64_t InTcp() {
    tcp_info info{};
    socklen_t size = sizeof info;
    REQUIRE(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
    int queued = 0;
    REQUIRE(ioctl(fd, SIOCOUTQ, &queued) == 0);
    return info.tcpi_bytes_acked + static_cast<uint64_t>(queued);
  }

  // Bytes of accepted records that TCP has not taken yet.
  uint64_t Pending() {
    uint64_t records = 0;
    REQUIRE(ReadSequence(fd, Direction::kSend, keys, &records) == 0);
    return accepted + records * (keys.prefix() + keys.suffix()) - (InTcp() - base);
  }

  // Until the kernel takes no more; nobody reads.
  void Fill() {
    ssize_t count = 0;
    while ((count = Send(fd, Pattern(kPiece), MSG_DONTWAIT)) > 0) {
      accepted += static_cast<size_t>(count);
    }
    REQUIRE(count == -EAGAIN);
  }

  // The peer opens so many records, or all until the end. How much content that was.
  size_t Opened(int records = 1'000'000) {
    Aead aead;
    size_t total = 0;
    while (records-- > 0) {
      const Bytes wire = ReadWire(pair.raw.get());
      if (wire.size() < kHeaderLength ||
          wire.size() < kHeaderLength + (static_cast<size_t>(wire[3]) << 8 | wire[4])) {
        break;
      }
      const OpenResult opened = OpenOne(aead, opening, wire);
      REQUIRE(opened.alert == Alert::kNone);
      total += opened.content.size();
    }
    return total;
  }
};

// Ends the connection with a full send buffer, again and again.
void CheckLoss(const std::function<void(Sender&)>& end) {
  for (uint16_t suite : kSuites) {
    int incomplete = 0;
    for (int buffer : kBuffers) {
      CAPTURE(suite);
      CAPTURE(buffer);
      Sender sender(suite, buffer);
      sender.Fill();
      const uint64_t pending = sender.Pending();
      CAPTURE(pending);
      CHECK(pending < kPiece + 100);
      if (pending > 0) ++incomplete;
      end(sender);
      CHECK(sender.accepted - sender.Opened() == (pending > 0 ? kPiece : 0));
    }
    CHECK(incomplete > 0);
  }
}

}  // namespace

TEST_CASE("send: SHUT_WR drops the accepted record of which TCP has not taken all") {
  CheckLoss([](Sender& sender) { shutdown(sender.fd, SHUT_WR); });
}

TEST_CASE("send: close drops the accepted record of which TCP has not taken all") {
  CheckLoss([](Sender& sender) { sender.pair.kernel.Reset(); });
}

TEST_CASE("send: once TCP has taken all, SHUT_WR drops nothing") {
  for (uint16_t suite : kSuites) {
    for (int buffer : kBuffers) {
      CAPTURE(suite);
      CAPTURE(buffer);
      Sender sender(suite, buffer);
      sender.Fill();
      size_t opened = 0;
      for (int i = 0; i < 100 && sender.Pending() > 0; ++i) {
        if (opened + kPiece < sender.accepted) opened += sender.Opened(1);
        poll(nullptr, 0, 10);  // a worker of the kernel sends the rest
      }
      REQUIRE(sender.Pending() == 0);
      shutdown(sender.fd, SHUT_WR);
      CHECK(opened + sender.Opened() == sender.accepted);
    }
  }
}

TEST_CASE("send: a record that MSG_MORE left open is dropped by SHUT_WR, sent before an alert") {
  for (bool alert : {false, true}) {
    CAPTURE(alert);
    Sender sender(0x1301);
    CHECK(Send(sender.fd, Pattern(100), MSG_MORE) == 100);
    if (alert) CHECK(SendControl(sender.fd, ContentType::kAlert, {1, 0}) == 2);
    shutdown(sender.fd, SHUT_WR);
    CHECK(sender.Opened() == (alert ? 102 : 0));
  }
}

TEST_CASE("send: a control record waits for room like data") {
  Sender sender(0x1301);
  sender.Fill();
  CHECK(SendControl(sender.fd, ContentType::kAlert, {1, 0}, MSG_DONTWAIT) == -EAGAIN);
}

TEST_CASE("send: records are kept short where the kernel has TLS_TX_MAX_PAYLOAD_LEN") {
  Sender sender(0xC02B);
  const uint16_t limit = 512;
  const int set = setsockopt(sender.fd, SOL_TLS, TLS_TX_MAX_PAYLOAD_LEN, &limit, sizeof limit);
  CHECK((set == 0) == Kernel().max_payload);
  if (set != 0) CHECK(errno == ENOPROTOOPT);
  CHECK(Send(sender.fd, Pattern(2000)) == 2000);
  CHECK(sender.Opened(1) == (Kernel().max_payload ? 512 : 2000));
}
