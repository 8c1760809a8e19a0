// SPDX-License-Identifier: MIT
// A page of counters of another process. First byte: as it is; or with a head that fits the size,
// so that names and cells are reached. What is read lies inside, and what a worker counts in a page
// that it takes can be read back.
#include <cstring>

#include "counter_page.h"
#include "descriptors.h"

using namespace ironsocket;

namespace {

constexpr size_t kHead = 48;  // magic, counters, cells of a part, parts, bytes of names, pauses
constexpr uint64_t kMagic = 0x31'00'74'6e'75'6f'43'49;

uint64_t Get(const std::vector<uint8_t>& page, size_t index) {
  uint64_t value;
  std::memcpy(&value, page.data() + index * 8, 8);
  return value;
}
void Put(std::vector<uint8_t>* page, size_t index, uint64_t value) {
  std::memcpy(page->data() + index * 8, &value, 8);
}
size_t RoundUp(size_t size) { return (size + 63) / 64 * 64; }

// Small numbers where there are any, and as many bytes as they say.
void Fit(std::vector<uint8_t>* page) {
  static constexpr uint64_t kMost[] = {0, 64, 80, 5, 1500, 1500};
  page->resize(std::max(page->size(), kHead));
  Put(page, 0, kMagic);
  for (size_t i = 1; i < 6; i++) Put(page, i, Get(*page, i) % (kMost[i] + 1));
  const size_t cells = Get(*page, 2) * Get(*page, 3) * 8;
  page->resize(64 + RoundUp(Get(*page, 4)) + RoundUp(Get(*page, 5) * 8) + cells, '\n');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 2 || size > 8'000) return 0;
  std::vector<uint8_t> page(bytes + 2, bytes + size);
  if (bytes[0] & 1) Fit(&page);
  const int before = NextFd();
  {
    const UniqueFd fd = Memory(page, bytes[0] & 2 ? F_SEAL_SHRINK : F_SEAL_SHRINK | F_SEAL_GROW);
    CounterReading reading;
    const bool good = ReadCounterPage(fd.get(), &reading);
    Require(!good || (bytes[0] & 2) == 0);
    if (good) Require(reading.numbers.size() == Get(page, 1));
    CounterPage own(bytes[1] % 6u);
    if (own.Use(fd.get())) {
      uint64_t sums[2][static_cast<size_t>(Counter::kCount)];
      own.Sum(sums[0]);
      if (bytes[1] % 6 > 0) own.ForThread().Add(Counter::kSessionsOpen, 3);
      own.Shared(Counter::kSessionsOpen).fetch_add(1);
      own.Sum(sums[1]);
      const auto at = static_cast<size_t>(Counter::kSessionsOpen);
      Require(sums[1][at] - sums[0][at] == (bytes[1] % 6 > 0 ? 4 : 1));
    }
  }
  Require(NextFd() == before);
  return 0;
}
