// SPDX-License-Identifier: MIT
// A real client's handshake, changed at any byte and cut into any pieces, through the whole path of
// a connection: our BIO, the callbacks for names, protocols and tickets, extraction. It ends with
// keys that carry bytes both ways, or is refused; an honest one is never refused.
#include "handshake/handshake.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "peers.h"
#include "reading.h"

using namespace ironsocket;

namespace {

// A change of the client's bytes, counted from its first.
struct Edit {
  size_t at;
  uint8_t with;
};

// To resume, one of each suite: a client may not offer the session of another one.
std::vector<SSL_SESSION*>& Sessions() {
  static auto* const sessions = new std::vector<SSL_SESSION*>;  // never goes
  return *sessions;
}

SslPtr ClientOf(uint8_t suite, uint8_t options) {
  SslPtr client = NewClient(SuiteOf(suite));
  SSL* ssl = client.get();
  static constexpr const char* kNames[] = {nullptr, "localhost", "A.EXAMPLE.", "no-such.name"};
  if (const char* name = kNames[options & 3]) SSL_set_tlsext_host_name(ssl, name);
  static constexpr std::string_view kProtocols = "\x02h2\x08http/1.1";
  if (options & 4) {
    SSL_set_alpn_protos(ssl, reinterpret_cast<const uint8_t*>(kProtocols.data()),
                        static_cast<unsigned>(kProtocols.size()));
  }
  const bool tls13 = SuiteOf(suite).version == TlsVersion::kTls13;
  if (options & 8) SSL_set_session(ssl, Sessions()[suite % Sessions().size()]);
  // The second is not the one that the client guesses: a HelloRetryRequest.
  if (options & 16) SSL_set1_groups_list(ssl, tls13 ? "P-521:P-256" : "P-256");
  if (options & 32) SSL_set_tlsext_max_fragment_length(ssl, TLSEXT_max_fragment_length_1024);
  return client;
}

class Meeting {
 public:
  Meeting(SslPtr client, std::vector<Edit> edits, size_t piece)
      : client_(std::move(client)), edits_(std::move(edits)), piece_(piece) {}

  Handshake::Status Run() {
    Handshake::Status status = Handshake::Status::kWantRead;
    for (int round = 0; round < 8 && status == Handshake::Status::kWantRead; round++) {
      const bool done = SSL_do_handshake(client_.get()) == 1;
      if (done && !said_) Say();
      Bytes flight = TakeWritten(client_.get());
      ERR_clear_error();
      if (flight.empty()) break;
      Change(&flight);
      status = Take(flight);
    }
    return status;
  }

  // Bytes go both ways, and what stood behind the client's Finished is not lost.
  void Check() {
    HandshakeResult result;
    Require(handshake_.Take(&result));
    Require(result.suite->openssl_name == std::string_view(SSL_get_cipher(client_.get())));
    if (SSL_do_handshake(client_.get()) != 1) return Require(!edits_.empty());
    if (!said_) Say();
    Reader reader(std::move(result.rx));
    reader.Feed(rest_, {});
    reader.Feed(TakeWritten(client_.get()), {});
    Require(!edits_.empty() || reader.data == Bytes{'h', 'i'});
    Aead aead;
    Bytes record(result.tx.prefix() + 1 + result.tx.suffix());
    record[result.tx.prefix()] = '!';
    Require(SealRecord(aead, result.tx, ContentType::kApplicationData, record.data(), 1) > 0);
    Outcome outcome;
    Give(client_.get(), record);
    ReadAll(client_.get(), &outcome);
    Require(outcome.data == Bytes{'!'});
  }

  SSL_SESSION* Keep() {
    SSL_set_shutdown(client_.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_SESSION* session = SSL_get1_session(client_.get());
    Require(SSL_SESSION_is_resumable(session));
    return session;
  }

  const Handshake& handshake() const { return handshake_; }

 private:
  void Say() {
    Require(SSL_write(client_.get(), "hi", 2) == 2);
    said_ = true;
  }

  void Change(Bytes* flight) const {
    for (const Edit& edit : edits_) {
      if (edit.at >= sent_ && edit.at - sent_ < flight->size())
        (*flight)[edit.at - sent_] ^= edit.with;
    }
  }

  Handshake::Status Take(std::span<const uint8_t> flight) {
    Handshake::Status status = Handshake::Status::kWantRead;
    sent_ += flight.size();
    while (!flight.empty() && status == Handshake::Status::kWantRead) {
      std::span<const uint8_t> piece = flight.first(std::min(piece_, flight.size()));
      const size_t before = piece.size();
      Bytes output;
      status = handshake_.Advance(&piece, &output);
      Require(status != Handshake::Status::kWantRead || piece.empty());
      Require(ERR_peek_error() == 0);
      flight = flight.subspan(before - piece.size());
      Give(client_.get(), output);
    }
    rest_.assign(flight.begin(), flight.end());
    return status;
  }

  SslPtr client_;
  const std::vector<Edit> edits_;
  const size_t piece_;
  Handshake handshake_{Contexts()};
  size_t sent_ = 0;
  bool said_ = false;
  Bytes rest_;
};

void MakeSessions() {
  size_t count = 0;
  Suites(&count);
  for (size_t suite = Sessions().size(); suite < count; suite++) {
    Meeting meeting(ClientOf(static_cast<uint8_t>(suite), 1), {}, SIZE_MAX);
    Require(meeting.Run() == Handshake::Status::kDone);
    meeting.Check();
    Sessions().push_back(meeting.Keep());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 3 || size > 300) return 0;
  MakeSessions();
  std::vector<Edit> edits;
  for (size_t at = 3; at + 2 < size; at += 3) {
    edits.push_back({static_cast<size_t>(bytes[at] << 8 | bytes[at + 1]), bytes[at + 2]});
  }
  const bool honest = edits.empty();
  Meeting meeting(ClientOf(bytes[0], bytes[1]), std::move(edits), 1 + bytes[2] * bytes[2]);
  const Handshake::Status status = meeting.Run();
  if (honest) Require(status == Handshake::Status::kDone);
  if (status == Handshake::Status::kDone) meeting.Check();
  if (status == Handshake::Status::kFailed) Require(!meeting.handshake().error().empty());
  Require(meeting.handshake().sni().size() <= 255);
  ERR_clear_error();
  return 0;
}
