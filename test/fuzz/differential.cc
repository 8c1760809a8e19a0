// SPDX-License-Identifier: MIT
// The record code against OpenSSL's own record layer: after a handshake both get the same bytes
// under the same keys, and must take the same application data out of them and end, or not, at the
// same record. Handshake messages other than KeyUpdate are left out: there we are stricter.
#include <openssl/err.h>

#include <algorithm>
#include <vector>

#include "handshake/context.h"
#include "handshake/extraction.h"
#include "record-keys.h"
#include "record/post_handshake.h"

using namespace ironsocket;

namespace {

using Bytes = std::vector<uint8_t>;

// How far one side got with a stream.
struct Outcome {
  Bytes data;
  bool ended = false;
};

const ServerContexts& Contexts() {
  static const ServerContexts* const contexts = [] {
    UniqueFd chain, key;
    std::string error;
    ContextOptions options{"fuzz", "1.2", "1.3", {}, {}, {}, nullptr};
    size_t count = 0;
    const Suite* suites = Suites(&count);
    for (size_t i = 0; i < count; i++) options.ciphers.push_back(suites[i].name);
    Require(GenerateCertificate({"localhost"}, 30, &chain, &key, &error));
    Require(LoadCertificate(chain.get(), key.get(), &options.certificates.emplace_back(), &error));
    auto* made = new ServerContexts;
    Require(made->Build(std::move(options), &error));
    return made;
  }();
  return *contexts;
}

SSL* NewClient(const Suite& suite) {
  static SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SSL* client = SSL_new(context);
  SSL_set_min_proto_version(client, static_cast<int>(suite.version));
  SSL_set_max_proto_version(client, static_cast<int>(suite.version));
  Require(suite.version == TlsVersion::kTls13 ? SSL_set_ciphersuites(client, suite.openssl_name)
                                              : SSL_set_cipher_list(client, suite.openssl_name));
  return client;
}

// Moves what one has written to the other; returns it.
Bytes Move(SSL* from, SSL* to) {
  Bytes bytes(BIO_ctrl_pending(SSL_get_wbio(from)));
  if (!bytes.empty()) {
    BIO_read(SSL_get_wbio(from), bytes.data(), static_cast<int>(bytes.size()));
    BIO_write(SSL_get_rbio(to), bytes.data(), static_cast<int>(bytes.size()));
  }
  return bytes;
}

// OpenSSL's server after a handshake, and the keys it receives with.
struct Server {
  SSL* ssl = SSL_new(Contexts().standard());
  Extraction extraction;
  TrafficKeys rx, tx;

  explicit Server(const Suite& suite) {
    SSL* client = NewClient(suite);
    for (SSL* side : {ssl, client}) SSL_set_bio(side, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(ssl);
    SSL_set_connect_state(client);
    extraction.Follow(ssl);
    for (int round = 0; round < 3; round++) {
      SSL_do_handshake(client);
      Move(client, ssl);
      SSL_do_handshake(ssl);
      extraction.SawOutput(Move(ssl, client));
    }
    Require(SSL_is_init_finished(ssl) && SSL_is_init_finished(client));
    const Suite* negotiated = nullptr;
    std::string error;
    Require(extraction.Take(ssl, &negotiated, &rx, &tx, &error) && negotiated == &suite);
    SSL_free(client);
    ERR_clear_error();
  }
  ~Server() { SSL_free(ssl); }

  Outcome Read(const Bytes& stream) {
    Outcome outcome;
    BIO_write(SSL_get_rbio(ssl), stream.data(), static_cast<int>(stream.size()));
    uint8_t part[16384];
    int got;
    while ((got = SSL_read(ssl, part, sizeof part)) > 0) {
      outcome.data.insert(outcome.data.end(), part, part + got);
    }
    outcome.ended = SSL_get_error(ssl, got) != SSL_ERROR_WANT_READ;
    ERR_clear_error();
    return outcome;
  }
};

Outcome ReadOurs(TrafficKeys keys, Bytes stream) {
  Aead aead;
  Outcome outcome;
  PostHandshakeState state;
  std::span<uint8_t> left(stream);
  while (!outcome.ended && left.size() >= kHeaderLength) {
    size_t length = 0;
    OpenedRecord record;
    outcome.ended = ParseHeader(keys, left.first<kHeaderLength>(), &length) != Alert::kNone;
    if (outcome.ended || left.size() < length) break;
    outcome.ended = OpenRecord(aead, keys, left.first(length), &record) != Alert::kNone;
    if (outcome.ended) break;
    left = left.subspan(length);
    const Judgement judgement = Judge(keys.version, record, &state);
    switch (judgement.verdict) {
      case Verdict::kData:
        outcome.data.insert(outcome.data.end(), record.content.begin(), record.content.end());
        break;
      case Verdict::kKeyUpdate:
      case Verdict::kKeyUpdateRequested:
        Require(NextGeneration(&keys));
        break;
      case Verdict::kIgnore:
        break;
      default:
        outcome.ended = true;
    }
  }
  return outcome;
}

// Writes the stream that an input describes: steps of (what, length, bytes).
class Writer {
 public:
  explicit Writer(const TrafficKeys& keys) {
    std::memcpy(static_cast<void*>(&keys_), &keys, sizeof keys_);
  }

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
      case 1:  // any type but a handshake message; 0 makes padding without a type
        return Seal(first == 22 ? 23 : first, bytes);
      case 2:  // what was never sealed; enough of it that both sides come to an end
        stream.insert(stream.end(), bytes.begin(), bytes.end());
        stream.resize(stream.size() + 20'000);
        done = true;
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
        stream[before + first % (stream.size() - before)] ^= 0x10;
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
  if (size < 2 || size > 4096) return 0;
  Server server(SuiteOf(bytes[0]));
  Writer writer(server.rx);
  std::span<const uint8_t> left(bytes + 1, size - 1);
  while (left.size() >= 2 && !writer.done && writer.stream.size() < 200'000) {
    const size_t length = std::min<size_t>(left[1], left.size() - 2);
    writer.Step(left[0], left.subspan(2, length));
    left = left.subspan(2 + length);
  }
  const Outcome theirs = server.Read(writer.stream);
  const Outcome ours = ReadOurs(std::move(server.rx), writer.stream);
  Require(ours.data == theirs.data);
  Require(ours.ended == theirs.ended);
  return 0;
}
