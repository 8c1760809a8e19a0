// SPDX-License-Identifier: MIT
// Without ThreadSanitizer: there is one thread.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "connection_id.h"
#include "counter_page.h"

using namespace ironsocket;

namespace {

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (size_t i = 0; i < static_cast<size_t>(Counter::kCount); ++i) {
    names.push_back("number_" + std::to_string(i));
  }
  return names;
}

uint64_t Of(const CounterReading& reading, Counter counter) {
  const auto index = static_cast<size_t>(counter);
  REQUIRE(reading.numbers.size() > index);
  CHECK(reading.numbers[index].name == "number_" + std::to_string(index));
  return reading.numbers[index].value;
}

}  // namespace

TEST_CASE("counters: a page tells the sum of its threads while they count and when they are gone") {
  UniqueFd fd;
  REQUIRE(CounterPage::Make(Names(), 2, &fd) == 0);
  CounterReading reading;
  {
    CounterPage page(2);
    REQUIRE(page.Use(fd.get()));
    ThreadCounters a = page.ForThread(), b = page.ForThread();
    a.Add(Counter::kSessionsOpen, 5);
    // One thread's part of a gauge may go below zero.
    b.Subtract(Counter::kSessionsOpen);
    b.Add(Counter::kLogLinesDropped, 7);
    page.Shared(Counter::kConnectionsOpen).fetch_add(3);
    page.pauses().Add(1000, 99);
    page.pauses().Add(50'000, 1);
    REQUIRE(ReadCounterPage(fd.get(), &reading));
    CHECK(Of(reading, Counter::kSessionsOpen) == 4);
    std::vector<uint64_t> sums(static_cast<size_t>(Counter::kCount));
    page.Sum(sums);
    CHECK(sums[static_cast<size_t>(Counter::kSessionsOpen)] == 4);
    CHECK(sums[static_cast<size_t>(Counter::kConnectionsOpen)] == 3);
  }
  REQUIRE(ReadCounterPage(fd.get(), &reading));
  CHECK(Of(reading, Counter::kSessionsOpen) == 4);
  CHECK(Of(reading, Counter::kLogLinesDropped) == 7);
  CHECK(Of(reading, Counter::kConnectionsOpen) == 3);
  CHECK(reading.pauses.longest_us == 50'000);
  CHECK(reading.pauses.p99_us >= 1000);
  CHECK(reading.pauses.p99_us < 1064);
}

TEST_CASE("counters: what is no page of this engine is not used") {
  std::vector<std::string> few = Names();
  few.pop_back();
  UniqueFd fd;
  CHECK(CounterPage::Make(few, 2, &fd) == -EINVAL);
  CounterPage page(3);
  CounterReading reading;
  SUBCASE("too few threads") {
    REQUIRE(CounterPage::Make(Names(), 2, &fd) == 0);
    CHECK_FALSE(page.Use(fd.get()));
    CHECK(ReadCounterPage(fd.get(), &reading));
  }
  SUBCASE("could be cut while it is read") {
    fd.Reset(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(ftruncate(fd.get(), 65536) == 0);
    CHECK_FALSE(page.Use(fd.get()));
    CHECK_FALSE(ReadCounterPage(fd.get(), &reading));
  }
  SUBCASE("says more than it has") {
    UniqueFd whole;
    REQUIRE(CounterPage::Make(Names(), 3, &whole) == 0);
    for (int field = 0; field < 6; ++field) {
      CAPTURE(field);
      std::vector<uint64_t> head(6);
      REQUIRE(pread(whole.get(), head.data(), 48, 0) == 48);
      for (const uint64_t value : {head[field] + 64, UINT64_MAX, UINT64_MAX / 8}) {
        fd.Reset(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        std::vector<uint64_t> changed = head;
        changed[field] = value;
        REQUIRE(pwrite(fd.get(), changed.data(), 48, 0) == 48);
        REQUIRE(ftruncate(fd.get(), lseek(whole.get(), 0, SEEK_END)) == 0);
        REQUIRE(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
        CHECK_FALSE(page.Use(fd.get()));
        CHECK_FALSE(ReadCounterPage(fd.get(), &reading));
      }
    }
  }
}

TEST_CASE("pauses: a bucket's bound is at most a sixteenth above each of its pauses") {
  uint64_t last = 0;
  for (uint64_t us = 0; us < uint64_t{1} << 33; us += us / 64 + 1) {
    CAPTURE(us);
    const size_t bucket = PauseHistogram::BucketOf(us);
    REQUIRE(bucket < PauseHistogram::kBuckets);
    CHECK(bucket >= last);
    last = bucket;
    if (bucket == PauseHistogram::kBuckets - 1) continue;
    CHECK(PauseHistogram::LastOf(bucket) >= us);
    CHECK(PauseHistogram::LastOf(bucket) <= us + us / 16);
    CHECK(PauseHistogram::BucketOf(PauseHistogram::LastOf(bucket)) == bucket);
    CHECK(PauseHistogram::BucketOf(PauseHistogram::LastOf(bucket) + 1) == bucket + 1);
  }
}

TEST_CASE("connection ids: worker and count, in few characters") {
  CHECK(std::string_view(ConnectionName(FirstConnectionId(7) + 122)) == "7-123");
  CHECK(std::string_view(ConnectionName(FirstConnectionId(0))) == "0-1");
  CHECK(FirstConnectionId(2) > FirstConnectionId(1) + 1'000'000'000'000);
  CHECK(std::string_view(ConnectionName(UINT64_MAX)) == "16777215-1099511627775");
}
