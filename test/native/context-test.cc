// SPDX-License-Identifier: MIT
// What a listener agrees to: certificate by name, ALPN, versions and suites; and what it says to
// bytes that are no handshake.
// Without ThreadSanitizer: there is one thread.
#include "handshake/context.h"

#include <doctest/doctest.h>

#include "meeting.h"

using namespace ironsocket;
using namespace std::string_view_literals;

namespace {

// The common name of the certificate that a client is shown.
std::string ShownTo(const ServerContexts& contexts, const ClientOptions& options) {
  Meeting meeting(contexts, options);
  if (!meeting.done()) return "alert " + std::to_string(meeting.PlainAlert());
  X509Ptr certificate(SSL_get1_peer_certificate(meeting.client.ssl()));
  char name[256] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name,
                            sizeof name);
  return name;
}

std::string BuildError(const ServerOptions& options) {
  ServerContexts contexts;
  std::string error;
  return contexts.Build(ToContextOptions(options), &error) ? "" : error;
}

// Feeds bytes to a new handshake. Its error; "" while it waits for more.
std::string Feed(const ServerContexts& contexts, const Bytes& bytes, Bytes* output) {
  Handshake handshake(contexts);
  std::span<const uint8_t> input(bytes);
  switch (handshake.Advance(&input, output)) {
    case Handshake::Status::kWantRead:
      CHECK(input.empty());
      return "";
    case Handshake::Status::kFailed:
      return handshake.error();
    case Handshake::Status::kDone:
      break;
  }
  return "done";
}

// A ClientHello's record header and message header, with room for `length` bytes of message.
Bytes HelloOf(uint32_t length, size_t in_record) {
  const size_t record = in_record + 4;
  Bytes bytes = {22,
                 3,
                 1,
                 static_cast<uint8_t>(record >> 8),
                 static_cast<uint8_t>(record),
                 1,
                 static_cast<uint8_t>(length >> 16),
                 static_cast<uint8_t>(length >> 8),
                 static_cast<uint8_t>(length)};
  bytes.resize(bytes.size() + in_record, 0x5a);
  return bytes;
}

}  // namespace

TEST_CASE("context: the certificate for the name that was asked for") {
  const Issued standard = Issue({.name = "standard", .dns = {"standard.example"}});
  const Issued wildcard = Issue({.name = "wildcard", .dns = {"*.b.example"}});
  const Issued exact = Issue({.name = "exact", .dns = {"deep.b.example", "C.example"}});
  const Issued by_cn = Issue({.name = "cn.example"});
  auto contexts =
      Server({.tickets = FreshTickets(), .certificates = {&standard, &wildcard, &exact, &by_cn}});
  struct {
    const char* asked;
    const char* shown;
  } const cases[] = {
      {nullptr, "standard"},
      {"standard.example", "standard"},
      {"unknown.example", "standard"},
      {"a.b.example", "wildcard"},
      {"A.B.EXAMPLE", "wildcard"},
      {"b.example", "standard"},      // a wildcard stands for one label
      {"x.a.b.example", "standard"},  // and for no more than one
      {"deep.b.example", "exact"},    // exact before wildcard
      {"c.example", "exact"},
      {"C.Example", "exact"},
      {"c.example.", "exact"},
      {"cn.example", "cn.example"},
      {"localhost", "standard"},
  };
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    for (const auto& test : cases) {
      CAPTURE(version);
      CAPTURE(std::string(test.shown));
      ClientOptions options{.min_version = version, .max_version = version, .sni = test.asked};
      CHECK(ShownTo(*contexts, options) == test.shown);
      Meeting meeting(*contexts, options);
      CHECK(meeting.result.sni == (test.asked ? test.asked : ""));
      // The context that was switched to watches, too: the keys are there.
      meeting.client.Write(Pattern(10));
      meeting.ours.inbound = meeting.client.Take();
      CHECK(meeting.ours.OpenData() == Pattern(10));
    }
  }
  CHECK(contexts->ForName("") == contexts->standard());
  CHECK(contexts->ForName(".") == contexts->standard());
  CHECK(contexts->ForName(".b.example") == contexts->standard());
}

TEST_CASE("context: resumption under every name, with the ticket keys of all") {
  const Issued one = Issue({.dns = {"one.example"}}), two = Issue({.dns = {"two.example"}});
  auto contexts = Server({.tickets = FreshTickets(), .certificates = {&one, &two}});
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    ClientOptions options{.min_version = version, .max_version = version, .sni = "two.example"};
    Meeting first(*contexts, options);
    REQUIRE(first.done());
    first.client.Read();
    SessionPtr session = first.client.Session();
    options.session = session.get();
    Meeting second(*contexts, options);
    CHECK(second.result.resumed);
    CHECK(second.result.sni == "two.example");
  }
}

TEST_CASE("context: ECDSA and RSA of one name stand side by side") {
  const Issued ec = Issue({.name = "ec", .dns = {"both.example"}});
  const Issued rsa = Issue({.name = "rsa", .key = EVP_RSA_gen(2048), .dns = {"both.example"}});
  const Issued other = Issue({.name = "other", .dns = {"other.example"}});
  auto contexts = Server({.certificates = {&other, &ec, &rsa}});
  ClientOptions options{.sni = "both.example"};
  options.signatures = "ECDSA+SHA256";
  CHECK(ShownTo(*contexts, options) == "ec");
  options.signatures = "RSA-PSS+SHA256:RSA+SHA256";
  CHECK(ShownTo(*contexts, options) == "rsa");
  options.sni = "other.example";
  CHECK(ShownTo(*contexts, options) == "alert 40");  // handshake_failure
}

TEST_CASE("context: ALPN by our order; none in common is refused; none asked for is none") {
  auto contexts = Server({.alpn = {"h2", "http/1.1"}});
  auto off = Server();
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    ClientOptions options{.min_version = version, .max_version = version};
    options.alpn = "\x08http/1.1\x02h2"sv;
    CHECK(Meeting(*contexts, options).result.alpn == "h2");
    CHECK(Meeting(*off, options).result.alpn == "");
    options.alpn = "\x08http/1.1"sv;
    CHECK(Meeting(*contexts, options).result.alpn == "http/1.1");
    options.alpn = "\x03xyz"sv;
    Meeting refused(*contexts, options);
    CHECK(refused.status == Handshake::Status::kFailed);
    CHECK(refused.PlainAlert() == 120);  // no_application_protocol
    options.alpn = {};
    Meeting none(*contexts, options);
    CHECK(none.done());
    CHECK(none.result.alpn == "");
  }
}

TEST_CASE("context: versions within the bounds, and protocol_version outside of them") {
  struct {
    const char *min, *max;
    int client_min, client_max, agreed;  // 0: none
  } const cases[] = {
      {"1.2", "1.3", TLS1_2_VERSION, TLS1_3_VERSION, TLS1_3_VERSION},
      {"1.2", "1.2", TLS1_2_VERSION, TLS1_3_VERSION, TLS1_2_VERSION},
      {"1.2", "1.3", TLS1_2_VERSION, TLS1_2_VERSION, TLS1_2_VERSION},
      {"1.3", "1.3", TLS1_2_VERSION, TLS1_3_VERSION, TLS1_3_VERSION},
      {"1.3", "1.3", TLS1_2_VERSION, TLS1_2_VERSION, 0},
      {"1.2", "1.2", TLS1_3_VERSION, TLS1_3_VERSION, 0},
      {"1.2", "1.3", TLS1_1_VERSION, TLS1_1_VERSION, 0},
      {"1.2", "1.3", TLS1_VERSION, TLS1_VERSION, 0},
  };
  for (const auto& test : cases) {
    CAPTURE(test.client_max);
    auto contexts = Server({.min_version = test.min, .max_version = test.max});
    ClientOptions options{.min_version = test.client_min, .max_version = test.client_max};
    if (test.client_max < TLS1_2_VERSION) options.suite = "ALL:@SECLEVEL=0";
    Meeting meeting(*contexts, options);
    CHECK(meeting.done() == (test.agreed != 0));
    if (meeting.done()) CHECK(SSL_version(meeting.client.ssl()) == test.agreed);
    if (!meeting.done()) CHECK(meeting.PlainAlert() == 70);
    CHECK(meeting.error.empty() == meeting.done());
  }
}

TEST_CASE("context: the default suites have no CCM; a list is taken as it is") {
  auto standard = Server();
  auto chacha = Server({.ciphers = {"TLS_CHACHA20_POLY1305_SHA256"}});
  for (const char* ccm : {"TLS_AES_128_CCM_SHA256", "ECDHE-ECDSA-AES128-CCM"}) {
    ClientOptions options{.suite = ccm};
    if (std::string(ccm) == "TLS_AES_128_CCM_SHA256") options.min_version = TLS1_3_VERSION;
    if (options.min_version == TLS1_2_VERSION) options.max_version = TLS1_2_VERSION;
    CHECK(ShownTo(*standard, options) == "alert 40");
  }
  // Only one version has a suite: the other is not offered.
  CHECK(ShownTo(*chacha, {.max_version = TLS1_2_VERSION}) == "alert 70");
  Meeting meeting(*chacha, {});
  REQUIRE(meeting.done());
  CHECK(meeting.result.suite->id == 0x1303);
  // CBC and plain RSA are no suites of ours.
  for (const char* old :
       {"ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"}) {
    CHECK(ShownTo(*standard, {.max_version = TLS1_2_VERSION, .suite = old}) == "alert 40");
  }
}

TEST_CASE("context: what can't be built is refused with a sentence") {
  CHECK(BuildError({.certificates = {}}) == "no certificate");
  CHECK(BuildError({.ciphers = {"TLS_NULL"}}) == "unknown cipher suite TLS_NULL");
  CHECK(BuildError({.alpn = {""}}) == "an ALPN protocol has 1 to 255 bytes");
  CHECK(BuildError({.alpn = {std::string(256, 'a')}}) == "an ALPN protocol has 1 to 255 bytes");
  const std::string versions = " has a suite";
  CHECK(BuildError({.min_version = "1.3", .max_version = "1.2"}).ends_with(versions));
  CHECK(BuildError({.min_version = "1.1"}).ends_with(versions));
  CHECK(BuildError({.max_version = "1.2", .ciphers = {"TLS_AES_128_GCM_SHA256"}})
            .ends_with(versions));
}

TEST_CASE("handshake: bytes that are none get an alert, and leave no error behind") {
  auto contexts = Server();
  const std::string request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  struct {
    Bytes bytes;
    const char* error;  // part of it
  } const cases[] = {
      {Bytes(request.begin(), request.end()), "http request"},
      {Bytes(100, 0), "wrong version number"},
      {Bytes(100, 0xff), "a hello in the form of SSL 2"},
      {FromHex("802e010303001500000010"), "a hello in the form of SSL 2"},
      {FromHex("1503010002022a"), "unexpected message"},
      {FromHex("140301000101"), "unexpected"},
      {FromHex("1703010001ff"), "unexpected message"},
      {FromHex("16030148010100"), "too long"},
  };
  for (const auto& test : cases) {
    Bytes output;
    const std::string error = Feed(*contexts, test.bytes, &output);
    CAPTURE(std::string(test.error));
    CAPTURE(error);
    CHECK(error != "done");
    CHECK(error.find(test.error) != error.npos);
    CHECK(ERR_peek_error() == 0);
  }
  for (uint32_t seed = 0; seed < 200; seed++) {
    Bytes output, bytes = Pattern(300, seed);
    if (seed % 2 == 0) std::copy_n(Bytes{22, 3, 1, 1, 0}.begin(), 5, bytes.begin());
    CHECK(Feed(*contexts, bytes, &output) != "done");
  }
}

TEST_CASE("handshake: a ClientHello of more than 128 KiB is refused at its first bytes") {
  auto contexts = Server();
  Bytes output;
  CHECK(Feed(*contexts, HelloOf(131397, 100), &output) == "excessive message size");
  REQUIRE(output.size() == 7);
  CHECK(output[0] == 21);
  CHECK(output[6] == 47);  // illegal_parameter
  // What is declared to be shorter is waited for, and no more of it is kept than came.
  Bytes none;
  CHECK(Feed(*contexts, HelloOf(131396, 100), &none) == "");
  CHECK(none.empty());
}
