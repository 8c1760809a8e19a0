// SPDX-License-Identifier: MIT
// The receiving engine against OpenSSL's own record layer: after a handshake both get the same
// bytes under the same keys, in pieces of the same size, and must take the same application data
// out of them, end, or not, at the same record, and answer with the same alert. Handshake messages
// other than KeyUpdate are left out: there we are stricter.
#include <algorithm>
#include <utility>
#include <vector>

#include "handshake/extraction.h"
#include "peers.h"
#include "reading.h"

using namespace ironsocket;

namespace {

// OpenSSL's server after a handshake, and the keys it receives with.
struct Server {
  SslPtr ssl{SSL_new(Contexts().standard())};
  Extraction extraction;
  TrafficKeys rx, tx;
  Outcome outcome;

  explicit Server(const Suite& suite) {
    const SslPtr client = NewClient(suite);
    SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(ssl.get());
    extraction.Follow(ssl.get());
    for (int round = 0; round < 3; round++) {
      SSL_do_handshake(client.get());
      Give(ssl.get(), TakeWritten(client.get()));
      SSL_do_handshake(ssl.get());
      const Bytes written = TakeWritten(ssl.get());
      extraction.SawOutput(written);
      Give(client.get(), written);
    }
    Require(SSL_is_init_finished(ssl.get()) && SSL_is_init_finished(client.get()));
    const Suite* negotiated = nullptr;
    std::string error;
    Require(extraction.Take(ssl.get(), &negotiated, &rx, &tx, &error) && negotiated == &suite);
    ERR_clear_error();
    WatchAlerts(ssl.get(), &outcome);
  }

  void Read(std::span<const uint8_t> stream, size_t piece) {
    while (!stream.empty() && !outcome.ended) {
      const auto now = stream.first(std::min(piece, stream.size()));
      stream = stream.subspan(now.size());
      Give(ssl.get(), now);
      ReadAll(ssl.get(), &outcome);
    }
  }
};

// Writes the stream that an input describes: steps of (what, length, bytes).
class Writer {
 public:
  explicit Writer(const TrafficKeys& keys) : keys_(Twin(keys)) {}

  void Step(uint8_t what, std::span<const uint8_t> bytes) {
    const uint8_t first = bytes.empty() ? 0 : bytes[0];
    what %= 8;
    Separate(what == 3                                   ? Kind::kKeyUpdate
             : what == 4 || (what == 1 && first == 21)   ? Kind::kAlert
             : bytes.empty() && (what == 0 || what == 7) ? Kind::kEmpty
                                                         : Kind::kData);
    switch (what) {
      case 0:
        return Seal(23, bytes);
      case 1:  // any type but a handshake message; 0 is padding without a type
        if (first == 0) return Seal(0, Bytes(bytes.size()));
        return Seal(first == 22 ? 23 : first, bytes);
      case 2:  // what was never sealed; enough of it that both sides come to an end
        stream.insert(stream.end(), bytes.begin(), bytes.end());
        stream.resize(stream.size() + 20'000);
        done = bad_header = true;
        return;
      case 3:
        return KeyUpdate(first & 1);
      case 4: {
        const uint8_t alert[] = {first, bytes.size() > 1 ? bytes[1] : uint8_t{0}};
        // OpenSSL takes the warning no_renegotiation for the end, we do not.
        return Seal(21, {alert, alert[1] == 100 ? 1u : 2u});
      }
      case 5: {
        const size_t before = stream.size();
        Seal(23, bytes);
        const size_t damaged = first % (stream.size() - before);
        stream[before + damaged] ^= 0x10;
        bad_header = damaged < kHeaderLength;
        stream.resize(stream.size() + 20'000);
        done = true;
        return;
      }
      case 6: {
        const size_t length = 16'000 + bytes.size() * 4;
        return Seal(23, Bytes(length, first));
      }
      default: {  // padding: the type is behind the content, zeros follow
        Bytes inner(bytes.begin(), bytes.end());
        inner.push_back(23);
        // OpenSSL takes padding beyond 2^14 + 1 bytes, against RFC 8446 section 5.4; we do not.
        inner.resize(std::min(inner.size() + first * 66u, kMaxPlaintext));
        return Seal(keys_.version == TlsVersion::kTls13 ? 0 : 23, inner);
      }
    }
  }
  Bytes stream;
  bool done = false;
  bool bad_header = false;

 private:
  enum class Kind { kData, kEmpty, kAlert, kKeyUpdate };

  // OpenSSL starts to count anew at a record of another kind, we only at data.
  void Separate(Kind next) {
    static constexpr uint8_t kByte[] = {'-'};
    if (last_ != Kind::kData && next != Kind::kData && next != last_) Seal(23, kByte);
    last_ = next;
  }
  void Seal(uint8_t type, std::span<const uint8_t> content) {
    Bytes record(keys_.prefix() + content.size() + keys_.suffix());
    std::copy(content.begin(), content.end(),
              record.begin() + static_cast<ptrdiff_t>(keys_.prefix()));
    Require(SealRecord(aead_, keys_, static_cast<ContentType>(type), record.data(),
                       content.size()) == record.size());
    stream.insert(stream.end(), record.begin(), record.end());
  }
  void KeyUpdate(bool request) {
    if (keys_.version != TlsVersion::kTls13 || keys_.generation >= 20) return;
    uint8_t message[kKeyUpdateLength];
    WriteKeyUpdate(request, message);
    Seal(22, message);
    Require(NextGeneration(&keys_));
  }

  Aead aead_;
  TrafficKeys keys_;
  Kind last_ = Kind::kData;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 3 || size > 4096) return 0;
  static constexpr size_t kPieces[] = {1, 3, 17, 100, 1000, 5000, 20'000, SIZE_MAX};
  const size_t piece = kPieces[bytes[1] % 8];
  Server server(SuiteOf(bytes[0]));
  Writer writer(server.rx);
  std::span<const uint8_t> left(bytes + 2, size - 2);
  while (left.size() >= 2 && !writer.done && writer.stream.size() < 200'000) {
    const size_t length = std::min<size_t>(left[1], left.size() - 2);
    writer.Step(left[0], left.subspan(2, length));
    left = left.subspan(2 + length);
  }
  Reader reader(std::move(server.rx));
  // Byte by byte a long stream takes its time.
  const std::span<const uint8_t> all(writer.stream);
  const size_t slow = std::min<size_t>(all.size(), 1'000);
  for (const auto& [part, pace] :
       {std::pair(all.first(slow), piece), std::pair(all.subspan(slow), size_t{20'000})}) {
    server.Read(part, pace);
    reader.Feed(part, {pace});
  }
  Require(reader.data == server.outcome.data);
  Require(reader.ended == server.outcome.ended);
  // Of several things that are wrong with a header each tells another.
  if (writer.bad_header) {
    Require((reader.alert == Alert::kNone) == (server.outcome.alert == Alert::kNone));
  } else {
    Require(reader.alert == server.outcome.alert);
  }
  return 0;
}
