// SPDX-License-Identifier: MIT
// Without ThreadSanitizer: there is one thread.
#include "handshake/certificate.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <string>

#include "issue.h"

using namespace ironsocket;
using namespace std::string_literals;

namespace {

std::string LoadError(const std::string& chain, const std::string& key) {
  Certificate certificate;
  std::string error;
  bool loaded = LoadCertificate(Memfd(chain).get(), Memfd(key).get(), &certificate, &error);
  CHECK(loaded == error.empty());
  CHECK(ERR_peek_error() == 0);
  return error;
}

CertificateReport Inspect(const std::string& chain) {
  CertificateReport report;
  std::string error;
  CHECK(InspectCertificate(Memfd(chain).get(), -1, &report, &error));
  CHECK(error == "");
  return report;
}

}  // namespace

TEST_CASE("certificate: ECDSA, RSA and Ed25519 load with their keys") {
  // clang 14 can't capture a structured binding (CAPTURE is a lambda).
  const std::pair<EVP_PKEY*, const char*> kinds[] = {
      {EVP_EC_gen("P-256"), "EC P-256"},
      {EVP_EC_gen("P-384"), "EC P-384"},
      {EVP_RSA_gen(2048), "RSA 2048"},
      {EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), "Ed25519"}};
  for (const auto& kind : kinds) {
    EVP_PKEY* key = kind.first;
    const char* type = kind.second;
    CAPTURE(type);
    Issued leaf = Issue({.key = key, .dns = {"example.com"}});
    Certificate certificate;
    std::string error;
    UniqueFd chain = Memfd(leaf.pem), secret = Memfd(leaf.key_pem);
    REQUIRE(LoadCertificate(chain.get(), secret.get(), &certificate, &error));
    CHECK(certificate.chain.size() == 1);
    CHECK(EVP_PKEY_eq(certificate.key.get(), key) == 1);
    CertificateReport report;
    REQUIRE(InspectCertificate(chain.get(), secret.get(), &report, &error));
    CHECK(report.has_key);
    CHECK(report.key_matches);
    CHECK(report.key_type == type);
    CHECK(report.chain[0].key_type == type);
    CHECK(ERR_peek_error() == 0);
  }
}

TEST_CASE("certificate: chain, key and prose may share one file, in any order, at any position") {
  Issued root = Issue({.name = "Root", .ca = true});
  Issued leaf = Issue({.name = "leaf", .issuer = &root, .dns = {"a.example"}});
  std::string all =
      "some prose\n" + leaf.key_pem + "Bag Attributes\n" + leaf.pem + root.pem + "\ntrailing prose";
  UniqueFd fd = Memfd(all);
  REQUIRE(lseek(fd.get(), 100, SEEK_SET) == 100);
  Certificate certificate;
  std::string error;
  REQUIRE(LoadCertificate(fd.get(), fd.get(), &certificate, &error));
  CHECK(certificate.chain.size() == 2);
  CHECK(lseek(fd.get(), 0, SEEK_CUR) == 100);
  // Windows line ends.
  std::string crlf;
  for (char byte : all) crlf += byte == '\n' ? "\r\n" : std::string(1, byte);
  CHECK(LoadError(crlf, crlf) == "");
}

TEST_CASE("certificate: older key formats, and EC parameters before the key") {
  Issued ec = Issue({.dns = {"a.example"}});
  CHECK(LoadError(ec.pem, TraditionalKey(ec.key.get())) == "");
  CHECK(TraditionalKey(ec.key.get()).find("BEGIN EC PRIVATE KEY") != std::string::npos);
  std::string parameters =
      "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
  CHECK(LoadError(ec.pem, parameters + TraditionalKey(ec.key.get())) == "");
  Issued rsa = Issue({.key = EVP_RSA_gen(2048), .dns = {"a.example"}});
  CHECK(LoadError(rsa.pem, TraditionalKey(rsa.key.get())) == "");
}

TEST_CASE("certificate: what is wrong is said in one sentence") {
  Issued one = Issue({.name = "one", .dns = {"a.example"}});
  Issued two = Issue({.name = "two", .dns = {"b.example"}});
  CHECK(LoadError("", one.key_pem) == "no certificate found");
  CHECK(LoadError("not PEM at all\n", one.key_pem) == "no certificate found");
  CHECK(LoadError(one.key_pem, one.key_pem) == "no certificate found");
  CHECK(LoadError(one.pem, "") == "no private key found");
  CHECK(LoadError(one.pem, one.pem) == "no private key found");
  CHECK(LoadError(one.pem, two.key_pem) == "the key does not match the certificate");
  CHECK(LoadError(one.pem + two.pem, two.key_pem) ==
        "the key belongs to certificate 2 of the chain; the certificate of the key has to come "
        "first");
  std::string encrypted = "the private key is encrypted; it has to be stored without a passphrase";
  CHECK(LoadError(one.pem, EncryptedKey(one.key.get())) == encrypted);
  CHECK(EncryptedKey(one.key.get()).find("BEGIN ENCRYPTED PRIVATE KEY") != std::string::npos);
  CHECK(LoadError(one.pem, TraditionalKey(one.key.get(), true)) == encrypted);
  std::string cut = one.pem.substr(0, one.pem.size() / 2);
  CHECK(LoadError(cut, one.key_pem).starts_with("the PEM is damaged: "));
  std::string flipped = one.pem;
  flipped[flipped.size() / 2] = '!';
  CHECK(LoadError(flipped, one.key_pem) == "the PEM is damaged: bad base64 decode");
  CHECK(LoadError("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", one.key_pem)
            .starts_with("certificate 1 of the file can't be decoded: "));
  CHECK(LoadError(one.pem, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
            .starts_with("the private key can't be decoded: "));
  // A damaged second certificate must not be dropped silently.
  CHECK(LoadError(one.pem + cut, one.key_pem).starts_with("the PEM is damaged: "));
  CHECK(LoadError(one.pem + std::string(1 << 20, '\n'), one.key_pem) ==
        "can't read the PEM: File too large");
}

TEST_CASE("certificate: a descriptor that is none is a sentence too") {
  Certificate certificate;
  std::string error;
  CHECK_FALSE(LoadCertificate(-1, -1, &certificate, &error));
  CHECK(error == "can't read the PEM: Bad file descriptor");
}

TEST_CASE("certificate: random damage never crashes and never loads another certificate") {
  Issued leaf = Issue({.dns = {"a.example"}});
  std::srand(20261121);
  for (int round = 0; round < 2'000; round++) {
    std::string pem = leaf.pem + leaf.key_pem;
    for (int i = 0; i <= std::rand() % 3; i++) {
      pem[static_cast<size_t>(std::rand()) % pem.size()] = static_cast<char>(std::rand());
    }
    Certificate certificate;
    std::string error;
    UniqueFd fd = Memfd(pem);
    bool loaded = LoadCertificate(fd.get(), fd.get(), &certificate, &error);
    REQUIRE(loaded == error.empty());
    if (loaded) REQUIRE(EVP_PKEY_eq(certificate.key.get(), leaf.key.get()) == 1);
  }
}

TEST_CASE("certificate: roles of a chain") {
  Issued root = Issue({.name = "Root", .ca = true});
  Issued intermediate = Issue({.name = "Intermediate", .issuer = &root, .ca = true});
  Issued leaf = Issue({.name = "leaf", .issuer = &intermediate, .dns = {"a.example"}});
  CertificateReport report = Inspect(leaf.pem + intermediate.pem + root.pem);
  REQUIRE(report.chain.size() == 3);
  CHECK(report.chain[0].role == "leaf");
  CHECK(report.chain[1].role == "intermediate");
  CHECK(report.chain[2].role == "root");
  CHECK(report.chain[0].subject == "CN=leaf");
  CHECK(report.chain[0].issuer == "CN=Intermediate");
  CHECK(report.chain[2].issuer == "CN=Root");
  CHECK(report.chain[1].names.empty());
  CHECK_FALSE(report.has_key);
  CHECK(Inspect(root.pem).chain[0].role == "leaf");
}

TEST_CASE("certificate: fingerprint, serial and validity") {
  Issued leaf = Issue({.name = "leaf", .serial = 0xabcdef, .dns = {"a.example"}});
  CertificateInfo info = Inspect(leaf.pem).chain[0];
  CHECK(info.serial == "abcdef");
  CHECK(info.not_before == kNotBefore);
  CHECK(info.not_after == kNotAfter);
  unsigned char* der = nullptr;
  int length = i2d_X509(leaf.certificate.get(), &der);
  unsigned char digest[32];
  EVP_Q_digest(nullptr, "SHA256", nullptr, der, static_cast<size_t>(length), digest, nullptr);
  OPENSSL_free(der);
  std::string expected;
  for (unsigned char byte : digest) {
    char hex[3];
    std::snprintf(hex, sizeof(hex), "%02x", byte);
    expected += hex;
  }
  CHECK(info.fingerprint == expected);
}

TEST_CASE("certificate: DNS names, lower case, wildcards kept, impossible ones left out") {
  using Names = std::vector<std::string>;
  auto names = [](Request request) { return Inspect(Issue(request).pem).chain[0].names; };
  CHECK(names({.name = "CN.example", .dns = {"B.Example", "*.b.example", "b.example"}}) ==
        Names{"b.example", "*.b.example"});
  CHECK(names({.name = "Only-CN.example"}) == Names{"only-cn.example"});
  CHECK(names({.name = "Not a host name"}).empty());
  // RFC 6125 section 6.4.4: with a DNS name in subjectAltName the CN does not count, even when that
  // name is useless.
  CHECK(names({.name = "cn.example", .dns = {"bank.example\0.evil.example"s}}).empty());
  CHECK(names({.name = "cn.example", .dns = {"bank.example\0.evil.example"s, "good.example"}}) ==
        Names{"good.example"});
  CHECK(names({.name = "cn.example", .dns = {std::string(254, 'a')}}).empty());
  CHECK(names({.name = "cn.example", .dns = {""}}).empty());
}

TEST_CASE("certificate: hostile subjects print without control characters") {
  CertificateInfo info = Inspect(Issue({.name = "a,b=c\n\x1b[2J Zürich"}).pem).chain[0];
  CHECK(info.subject == "CN=a\\,b=c\\0A\\1B[2J Zürich");
}

TEST_CASE("certificate: LoadFile copies into a sealed memfd") {
  char path[] = "/tmp/ironsocket-pem-XXXXXX";
  UniqueFd file(mkostemp(path, O_CLOEXEC));
  REQUIRE(pwrite(file.get(), "content", 7, 0) == 7);
  UniqueFd memory = LoadFile(path);
  REQUIRE(memory.valid());
  char bytes[8] = {};
  CHECK(pread(memory.get(), bytes, sizeof(bytes), 0) == 7);
  CHECK(bytes == "content"s);
  CHECK((fcntl(memory.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(fcntl(memory.get(), F_GET_SEALS) ==
        (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL));
  CHECK(pwrite(memory.get(), "x", 1, 0) == -1);
  CHECK(errno == EPERM);
  CHECK(LoadFile(path, 7).valid());
  CHECK_FALSE(LoadFile(path, 6).valid());
  CHECK(errno == EFBIG);
  unlink(path);
  CHECK_FALSE(LoadFile(path).valid());
  CHECK(errno == ENOENT);
  CHECK_FALSE(LoadFile("/tmp").valid());
  CHECK(errno == EISDIR);
  REQUIRE(mkfifo(path, 0600) == 0);  // must not wait for a writer
  CHECK_FALSE(LoadFile(path).valid());
  CHECK(errno == EINVAL);
  unlink(path);
  CHECK_FALSE(LoadFile("/dev/zero").valid());
}

TEST_CASE("certificate: a generated one loads, matches and names what was asked for") {
  UniqueFd chain, key;
  std::string error;
  REQUIRE(GenerateCertificate({"localhost", "*.a,b.example", "127.0.0.1", "::1"}, 30, &chain, &key,
                              &error));
  Certificate certificate;
  REQUIRE(LoadCertificate(chain.get(), key.get(), &certificate, &error));
  X509* leaf = certificate.chain[0].get();
  CHECK(X509_get_version(leaf) == 2);
  CHECK(X509_verify(leaf, certificate.key.get()) == 1);
  CHECK(X509_check_host(leaf, "localhost", 0, 0, nullptr) == 1);
  CHECK(X509_check_host(leaf, "other", 0, 0, nullptr) == 0);
  CHECK(X509_check_ip_asc(leaf, "127.0.0.1", 0) == 1);
  CHECK(X509_check_ip_asc(leaf, "::1", 0) == 1);
  CHECK(X509_check_ip_asc(leaf, "127.0.0.2", 0) == 0);
  CHECK(X509_check_purpose(leaf, X509_PURPOSE_SSL_SERVER, 0) == 1);
  CHECK(X509_check_ca(leaf) == 0);
  CertificateReport report;
  REQUIRE(InspectCertificate(chain.get(), key.get(), &report, &error));
  CHECK(report.key_type == "EC P-256");
  CHECK(report.chain[0].subject == "CN=localhost");
  CHECK(report.chain[0].names ==
        std::vector<std::string>{"localhost"});  // the comma is no DNS name
  CHECK(report.chain[0].not_after - report.chain[0].not_before == 30 * 86'400);
  CHECK(std::abs(report.chain[0].not_before + 3'600 - time(nullptr)) < 60);
  CHECK(ERR_peek_error() == 0);
  UniqueFd other_chain, other_key;
  REQUIRE(GenerateCertificate({"localhost"}, 1, &other_chain, &other_key, &error));
  CHECK_FALSE(LoadCertificate(chain.get(), other_key.get(), &certificate, &error));
}

TEST_CASE("certificate: what can't be generated is refused") {
  UniqueFd chain, key;
  std::string error;
  CHECK_FALSE(GenerateCertificate({}, 30, &chain, &key, &error));
  CHECK(error == "a certificate needs at least one name");
  CHECK_FALSE(GenerateCertificate({"a"}, 0, &chain, &key, &error));
  CHECK_FALSE(GenerateCertificate({""}, 30, &chain, &key, &error));
  CHECK_FALSE(GenerateCertificate({std::string(65, 'a')}, 30, &chain, &key, &error));
  CHECK_FALSE(GenerateCertificate({"a\0b"s}, 30, &chain, &key, &error));
  CHECK_FALSE(chain.valid());
}
