// SPDX-License-Identifier: MIT
// What the sending engine makes, read by OpenSSL's client after a real handshake: the same bytes,
// whatever the sizes, the key updates in between and the pieces in which they come. A key update
// that asks for one gets it, and what the client then sends opens under the next keys.
#include <algorithm>
#include <vector>

#include "handshake/handshake.h"
#include "peers.h"
#include "reading.h"

using namespace ironsocket;

namespace {

// A client and the keys of its session.
struct Session {
  SslPtr client;
  HandshakeResult keys;
  Outcome outcome;

  explicit Session(const Suite& suite) : client(NewClient(suite)) {
    Handshake handshake(Contexts());
    Handshake::Status status = Handshake::Status::kWantRead;
    while (status == Handshake::Status::kWantRead) {
      SSL_do_handshake(client.get());
      const Bytes flight = TakeWritten(client.get());
      Require(!flight.empty());
      std::span<const uint8_t> input(flight);
      Bytes output;
      status = handshake.Advance(&input, &output);
      Give(client.get(), output);
    }
    Require(status == Handshake::Status::kDone && handshake.Take(&keys) && keys.suite == &suite);
    Require(SSL_do_handshake(client.get()) == 1);
    WatchAlerts(client.get(), &outcome);
  }
};

// Seals as the engine does, and keeps what was said.
class Speaker {
 public:
  explicit Speaker(TrafficKeys keys) : keys_(std::move(keys)) {}

  void Say(ContentType type, std::span<const uint8_t> content) {
    Bytes record(keys_.prefix() + content.size() + keys_.suffix());
    std::copy(content.begin(), content.end(),
              record.begin() + static_cast<ptrdiff_t>(keys_.prefix()));
    Require(SealRecord(aead_, keys_, type, record.data(), content.size()) == record.size());
    stream.insert(stream.end(), record.begin(), record.end());
    if (type == ContentType::kApplicationData) {
      data.insert(data.end(), content.begin(), content.end());
    }
  }
  void KeyUpdate(bool request) {
    if (keys_.version != TlsVersion::kTls13) return;
    // Each that is asked for comes back, and of those we take so many without data.
    request = request && asked < kMaxKeyUpdates;
    uint8_t message[kKeyUpdateLength];
    WriteKeyUpdate(request, message);
    Say(ContentType::kHandshake, message);
    Require(NextGeneration(&keys_));
    asked += request;
  }
  Bytes stream, data;
  size_t asked = 0;

 private:
  Aead aead_;
  TrafficKeys keys_;
};

// What the client answers with comes out of our engine.
void Answer(Session& session, bool updated) {
  static constexpr uint8_t kWords[] = {'h', 'e', 'a', 'r', 'd'};
  Reader reader(std::move(session.keys.rx));
  Require(SSL_write(session.client.get(), kWords, sizeof kWords) == sizeof kWords);
  reader.Feed(TakeWritten(session.client.get()), {7});
  Require(!reader.ended && reader.data == Bytes(kWords, kWords + sizeof kWords));
  Require((reader.records.front().type == ContentType::kHandshake) == updated);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 3 || size > 300) return 0;
  Session session(SuiteOf(bytes[0]));
  Speaker speaker(std::move(session.keys.tx));
  bool close = false;
  for (size_t at = 2; at + 1 < size && !close && speaker.stream.size() < 200'000; at += 2) {
    const uint8_t what = bytes[at] % 8, amount = bytes[at + 1];
    if (what < 4) speaker.Say(ContentType::kApplicationData, Bytes(1 + amount, amount));
    if (what == 4)
      speaker.Say(ContentType::kApplicationData, Bytes(kMaxPlaintext - amount, amount));
    if (what == 5 || what == 6) speaker.KeyUpdate(what == 6);
    close = what == 7 && amount == 0;
  }
  static constexpr uint8_t kClose[] = {kAlertWarning, 0};
  if (close) speaker.Say(ContentType::kAlert, kClose);

  const size_t piece = 1 + bytes[1] * bytes[1];
  std::span<const uint8_t> left(speaker.stream);
  while (!left.empty()) {
    const auto now = left.first(std::min(piece, left.size()));
    left = left.subspan(now.size());
    Give(session.client.get(), now);
    ReadAll(session.client.get(), &session.outcome);
  }
  Require(session.outcome.data == speaker.data);
  Require(session.outcome.ended == close && session.outcome.alert == Alert::kNone);
  Answer(session, speaker.asked > 0);
  return 0;
}
