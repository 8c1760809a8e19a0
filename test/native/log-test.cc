// SPDX-License-Identifier: MIT
// What a line looks like, and that no line is lost without being counted. What a log does that
// can't be written is in log-fault-test.cc.
#include "log/log.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <string>
#include <thread>

#include "log-output.h"
#include "logfmt-parser.h"

using namespace ironsocket;
using namespace std::string_literals;

namespace {

// A file in memory that the log appends to.
UniqueFd MemoryLog(UniqueFd* keep) {
  *keep = UniqueFd(memfd_create("log", MFD_CLOEXEC));
  return UniqueFd(fcntl(keep->get(), F_DUPFD_CLOEXEC, 0));
}

// The one line that `add` makes.
template <typename Add>
std::string OneLine(Add add) {
  UniqueFd file;
  {
    Log log(MemoryLog(&file), Level::kDebug, "worker");
    LogLine line(log, Level::kInfo, "test");
    add(line);
    line.Send();
  }
  std::vector<std::string> lines = Lines(file.get());
  REQUIRE(lines.size() == 1);
  return lines[0];
}

}  // namespace

TEST_CASE("log: a line begins with the fields that every line has") {
  std::string line = OneLine([](LogLine& line) {
    line.Add("subevent", "client_connect").Add("port", uint16_t{443}).Add("minus", -5);
    line.Add("big", UINT64_MAX).Add("small", INT64_MIN).Add("yes", true).Add("no", false);
  });
  auto fields = logfmt::Parse(line);
  REQUIRE(fields);
  CHECK((*fields)[0].first == "timestamp");
  CHECK((*fields)[0].second.size() == 27);
  CHECK(line.substr(line.find(" service=")) ==
        " service=ironsocket process_type=worker pid=" + std::to_string(getpid()) +
            " level=info event=test subevent=client_connect port=443 minus=-5"
            " big=18446744073709551615 small=-9223372036854775808 yes=true no=false");
}

TEST_CASE("log: hostile values stay inside their field") {
  const std::string values[] = {"a\r\nlevel=fatal event=forged"s,
                                "\x1b[2J\x1b]0;title\x07"s,
                                "\"quoted\" \\"s,
                                "nul\0inside"s,
                                "\xff\xfe\xc3("s,
                                ""s,
                                " "s,
                                "="s,
                                "\u009b31m\u2028"s,
                                "a=b c=d"s};
  for (const std::string& value : values) {
    std::string line = OneLine([&](LogLine& line) { line.Add("sni", value).Add("after", 1); });
    CAPTURE(line);
    for (unsigned char byte : line) CHECK((byte >= 0x20 && byte != 0x7f));
    auto fields = logfmt::Parse(line);
    REQUIRE(fields);
    CHECK(fields->size() == 8);
    CHECK(logfmt::Value(*fields, "sni") == value);
    CHECK(logfmt::Value(*fields, "after") == "1");
    CHECK(logfmt::Value(*fields, "level") == "info");
  }
}

TEST_CASE("log: a line that would be too long is cut and stays parseable") {
  for (std::string value : {std::string(10'000, 'x'), std::string(10'000, '\n'),
                            std::string(10'000, '\xff'), std::string(10'000, ' ')}) {
    std::string line =
        OneLine([&](LogLine& line) { line.Add("sni", value).Add("later", "left out"); });
    CHECK(line.size() + 1 <= LogLine::kMaxLine);
    CHECK(line.size() + 1 > LogLine::kMaxLine - 10);
    CHECK(line.ends_with(" truncated=true"));
    auto fields = logfmt::Parse(line);
    REQUIRE(fields);
    CHECK(value.starts_with(logfmt::Value(*fields, "sni")));
    CHECK(logfmt::Value(*fields, "later") == "(no field)");
  }
}

TEST_CASE("log: a number is never cut into another number") {
  for (size_t length = 3900; length < 4096; length++) {
    std::string line = OneLine([&](LogLine& line) {
      line.Add("fill", std::string(length, 'x')).Add("bytes", UINT64_MAX);
    });
    REQUIRE(line.size() + 1 <= LogLine::kMaxLine);
    auto fields = logfmt::Parse(line);
    REQUIRE(fields);
    std::string bytes = logfmt::Value(*fields, "bytes");
    bool whole = bytes == "18446744073709551615" && !line.ends_with(" truncated=true");
    bool left_out = bytes == "(no field)" && line.ends_with(" truncated=true");
    REQUIRE(whole != left_out);
  }
}

TEST_CASE("log: levels below the chosen one cost no line") {
  UniqueFd file;
  {
    Log log(MemoryLog(&file), Level::kInfo, "master");
    CHECK_FALSE(log.Enabled(Level::kDebug));
    LogLine(log, Level::kDebug, "hidden").Add("a", 1).Send();
    LogLine(log, Level::kFatal, "one").Send();
    log.SetLevel(Level::kDebug);
    LogLine(log, Level::kDebug, "two").Send();
    LogLine twice(log, Level::kInfo, "three");
    twice.Send();
    twice.Send();
  }
  std::vector<std::string> lines = Lines(file.get());
  REQUIRE(lines.size() == 3);
  CHECK(lines[0].find(" level=fatal event=one") != std::string::npos);
  CHECK(lines[1].find(" level=debug event=two") != std::string::npos);
  CHECK(lines[2].find(" event=three") != std::string::npos);
}

TEST_CASE("log: lines come in the order in which a thread sent them, at once") {
  UniqueFd file;
  Log log(MemoryLog(&file), Level::kInfo, "worker");
  for (int i = 0; i < 20; i++) {
    LogLine(log, Level::kInfo, "test").Add("i", i).Send();
    REQUIRE(Eventually([&] { return log.written() == static_cast<uint64_t>(i) + 1; }));
  }
  std::vector<std::string> lines = Lines(file.get());
  REQUIRE(lines.size() == 20);
  for (int i = 0; i < 20; i++) CHECK(lines[i].ends_with(" i=" + std::to_string(i)));
}

TEST_CASE("log: after Reopen lines go to the new file") {
  UniqueFd first, second;
  {
    Log log(MemoryLog(&first), Level::kInfo, "worker");
    LogLine(log, Level::kInfo, "before").Send();
    REQUIRE(Eventually([&] { return log.written() == 1; }));
    log.Reopen(MemoryLog(&second));
    LogLine(log, Level::kInfo, "after").Send();
    REQUIRE(Eventually([&] { return log.written() == 2; }));
  }
  REQUIRE(Lines(first.get()).size() == 1);
  CHECK(Lines(first.get())[0].ends_with("event=before"));
  REQUIRE(Lines(second.get()).size() == 1);
  CHECK(Lines(second.get())[0].ends_with("event=after"));
}

TEST_CASE("log: four threads, 100,000 lines, each is written once or counted as dropped") {
  constexpr int kThreads = 4, kLinesEach = 25'000;
  UniqueFd file;
  uint64_t written = 0, dropped = 0;
  {
    Log log(MemoryLog(&file), Level::kInfo, "worker");
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; thread++) {
      threads.emplace_back([&log, thread] {
        for (int i = 0; i < kLinesEach; i++) {
          LogLine(log, Level::kInfo, "test").Add("thread", thread).Add("i", i).Send();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    REQUIRE(Eventually([&] { return log.written() + log.dropped() == kThreads * kLinesEach; }));
    written = log.written(), dropped = log.dropped();
  }
  uint64_t lines = 0, told = 0;
  int last[kThreads] = {-1, -1, -1, -1};
  for (const std::string& line : Lines(file.get())) {
    auto fields = logfmt::Parse(line);
    REQUIRE(fields);
    if (logfmt::Value(*fields, "event") == "log_dropped") {
      told += std::stoull(logfmt::Value(*fields, "count"));
      continue;
    }
    lines++;
    int& previous = last[std::stoi(logfmt::Value(*fields, "thread"))];
    int i = std::stoi(logfmt::Value(*fields, "i"));
    REQUIRE(i > previous);
    previous = i;
  }
  MESSAGE("written ", written, ", dropped ", dropped);
  CHECK(lines == written);
  CHECK(told == dropped);
}
