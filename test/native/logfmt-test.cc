// SPDX-License-Identifier: MIT
// Without ThreadSanitizer: there is one thread.
#include "log/logfmt.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

#include "logfmt-parser.h"

using namespace ironsocket;
using namespace std::string_literals;

namespace {

std::string Format(std::string_view value, size_t room = 64, bool expect_cut = false) {
  std::string out(room, '#');
  bool cut = false;
  out.resize(FormatValue(value, out, &cut));
  CHECK(cut == expect_cut);
  return out;
}

std::string Timestamp(int64_t microseconds) {
  char text[kTimestampLength];
  FormatTimestamp(std::chrono::system_clock::time_point(std::chrono::microseconds(microseconds)),
                  text);
  return std::string(text, sizeof(text));
}

}  // namespace

TEST_CASE("logfmt: a plain value stays as it is, everything else is quoted") {
  CHECK(Format("192.0.2.1:443") == "192.0.2.1:443");
  CHECK(Format("TLS_AES_128_GCM_SHA256") == "TLS_AES_128_GCM_SHA256");
  CHECK(Format("") == R"("")");
  CHECK(Format("two words") == R"("two words")");
  CHECK(Format("a=b") == R"("a=b")");
  CHECK(Format(R"(say "no")") == R"("say \"no\"")");
  CHECK(Format(R"(C:\x)") == R"("C:\\x")");
  CHECK(Format("Zürich €") == "\"Zürich €\"");
  CHECK(Format("😀") == "\"😀\"");
}

TEST_CASE("logfmt: no value ends its line or reaches a terminal") {
  CHECK(Format("a\r\nlevel=fatal") == R"("a\r\nlevel=fatal")");
  CHECK(Format("\x1b[2J\x07") == R"("\u001b[2J\u0007")");
  CHECK(Format("a\0b"s) == R"("a\u0000b")");
  CHECK(Format("\x7f") == R"("\u007f")");
  CHECK(Format("tab\there") == R"("tab\there")");
  CHECK(Format("\u009b31m") == R"("\u009b31m")");  // C1: CSI in one character
  CHECK(Format("\u0085") == R"("\u0085")");        // NEL
  CHECK(Format("\u2028\u202e") == R"("\u2028\u202e")");
  CHECK(Format("\ufeff") == R"("\ufeff")");
}

TEST_CASE("logfmt: bytes that are not UTF-8 become \\xNN, one by one") {
  CHECK(Format("\xff") == R"("\xff")");
  CHECK(Format("\xc3") == R"("\xc3")");                          // cut character
  CHECK(Format("\xc3(") == R"("\xc3(")");                        // wrong second byte
  CHECK(Format("\xc0\xaf") == R"("\xc0\xaf")");                  // overlong slash
  CHECK(Format("\xe0\x80\xaf") == R"("\xe0\x80\xaf")");          // overlong
  CHECK(Format("\xed\xa0\x80") == R"("\xed\xa0\x80")");          // surrogate
  CHECK(Format("\xf4\x90\x80\x80") == R"("\xf4\x90\x80\x80")");  // above U+10FFFF
  CHECK(Format("\x9b") == R"("\x9b")");                          // C1 as one byte
  CHECK(Format("ok\x80ok") == R"("ok\x80ok")");
}

TEST_CASE("logfmt: a value is cut between characters and its quote is closed") {
  CHECK(Format("abcdef", 4, true) == "abcd");
  CHECK(Format("a b c d", 6, true) == R"("a b ")");
  CHECK(Format("a\n\n", 4, true) == R"("a")");      // no room for half an escape
  CHECK(Format("a \u20ac", 6, true) == R"("a ")");  // nor for a part of three bytes
  CHECK(Format("a \u20ac", 7) == "\"a \u20ac\"");
  CHECK(Format(" ", 2, true) == R"("")");
}

TEST_CASE("logfmt: any bytes come back as they were") {
  std::mt19937 random(20261121);
  for (int round = 0; round < 20'000; round++) {
    std::string value(random() % 24, '\0');
    // Half of the bytes from a few that are near the borders of the rules.
    constexpr std::string_view kNear = "\"\\\n\r\t =\x7f\x80\xc2\x9b\xe2\x80\xa8\xed\xa0\xf4\x90";
    for (char& byte : value) {
      byte = random() % 2 ? kNear[random() % kNear.size()] : static_cast<char>(random());
    }
    auto fields = logfmt::Parse("k=" + Format(value, 256));
    REQUIRE(fields);
    REQUIRE(fields->size() == 1);
    REQUIRE((*fields)[0].second == value);
  }
}

TEST_CASE("logfmt: a cut value of any bytes still parses") {
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; round++) {
    std::string value(32 + random() % 8, '\0');
    for (char& byte : value) byte = static_cast<char>(random());
    std::string out(2 + random() % 16, '#');
    bool cut = false;
    size_t length = FormatValue(value, out, &cut);
    REQUIRE(length <= out.size());
    REQUIRE(logfmt::Parse("k=" + out.substr(0, length)));
    REQUIRE(cut);
  }
}

TEST_CASE("logfmt: keys have only safe bytes") {
  char out[16];
  CHECK(std::string(out, FormatKey("client_ip", out)) == "client_ip");
  CHECK(std::string(out, FormatKey("a b=\n\"", out)) == "a_b___");
  CHECK(FormatKey("seventeen_letters", out) == 0);
}

TEST_CASE("logfmt: timestamps are RFC 3339 in UTC") {
  CHECK(Timestamp(0) == "1970-01-01T00:00:00.000000Z");
  CHECK(Timestamp(1'709'210'096'000'789) == "2024-02-29T12:34:56.000789Z");
  CHECK(Timestamp(951'782'399'999'999) == "2000-02-28T23:59:59.999999Z");
  CHECK(Timestamp(4'102'444'800'000'000) == "2100-01-01T00:00:00.000000Z");
  CHECK(Timestamp(-1) == "1969-12-31T23:59:59.999999Z");
}
