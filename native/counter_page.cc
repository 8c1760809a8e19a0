// SPDX-License-Identifier: MIT
#include "counter_page.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace ironsocket {
namespace {

constexpr uint64_t kMagic = 0x31'00'74'6e'75'6f'43'49;  // "ICount" and the version
constexpr size_t kMostNames = 64 * 1024;
constexpr size_t kMostThreads = 4096;
constexpr size_t kLine = 64;

constexpr size_t RoundUp(size_t size) { return (size + kLine - 1) / kLine * kLine; }

}  // namespace

// Head, names (each with a line feed), pauses, then a part for all and one for each thread; each
// begins on a line of the cache.
struct CounterLayout {
  uint64_t magic = kMagic;
  uint64_t counters = 0;
  uint64_t part_cells = 0;
  uint64_t parts = 0;
  uint64_t names_bytes = 0;
  uint64_t pause_cells = 0;

  size_t names_at() const { return RoundUp(sizeof *this); }
  size_t pauses_at() const { return names_at() + RoundUp(names_bytes); }
  size_t parts_at() const { return pauses_at() + RoundUp(pause_cells * sizeof(uint64_t)); }
  size_t size() const { return parts_at() + parts * part_cells * sizeof(uint64_t); }

  // Bounds that keep the sums above from running over.
  bool IsSound() const {
    return magic == kMagic && names_bytes <= kMostNames && counters <= part_cells &&
           part_cells <= kMostNames && parts <= kMostThreads && pause_cells <= kMostNames;
  }

  static CounterLayout Of(uint32_t threads, size_t names_bytes) {
    CounterLayout layout;
    layout.counters = static_cast<uint64_t>(Counter::kCount);
    layout.part_cells = CounterPage::kPartCells;
    layout.parts = threads + uint64_t{1};
    layout.names_bytes = names_bytes;
    layout.pause_cells = PauseHistogram::kCells;
    return layout;
  }
};

namespace {

// Whether it is a page, with a head that fits its size.
bool ReadLayout(const SealedMapping& page, CounterLayout* layout) {
  if (!page.good() || page.bytes().size() < sizeof *layout) return false;
  std::memcpy(layout, page.bytes().data(), sizeof *layout);
  return layout->IsSound() && layout->size() == page.bytes().size();
}

template <class T>
std::span<const uint8_t> BytesOf(const T& value) {
  return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
}

}  // namespace

CounterPage::CounterPage(uint32_t threads)
    : threads_(threads),
      own_(new Cell[PauseHistogram::kCells + (threads + size_t{1}) * kPartCells]()),
      pauses_(own_.get()),
      parts_(own_.get() + PauseHistogram::kCells) {}

int CounterPage::Make(std::span<const std::string> names, uint32_t threads, UniqueFd* out) {
  std::string text;
  for (const std::string& name : names) text.append(name).push_back('\n');
  const CounterLayout layout = CounterLayout::Of(threads, text.size());
  if (names.size() != layout.counters || !layout.IsSound()) return -EINVAL;
  UniqueFd fd;
  int error = MakeSealedMemfd("ironsocket-counters", layout.size(), F_SEAL_SEAL, &fd);
  if (error != 0) return error;
  error = WriteAt(fd.get(), BytesOf(layout), 0);
  const std::span<const uint8_t> all_names(reinterpret_cast<const uint8_t*>(text.data()),
                                           text.size());
  if (error == 0) error = WriteAt(fd.get(), all_names, layout.names_at());
  if (error != 0) return error;
  *out = std::move(fd);
  return 0;
}

bool CounterPage::Use(int fd) {
  SealedMapping page(fd, PROT_READ | PROT_WRITE);
  CounterLayout layout;
  if (!ReadLayout(page, &layout)) return false;
  const CounterLayout wanted = CounterLayout::Of(threads_, layout.names_bytes);
  if (layout.counters != wanted.counters || layout.part_cells != wanted.part_cells ||
      layout.parts < wanted.parts || layout.pause_cells != wanted.pause_cells) {
    return false;
  }
  mapped_ = std::move(page);
  uint8_t* const data = mapped_.bytes().data();
  pauses_ = reinterpret_cast<Cell*>(data + layout.pauses_at());
  parts_ = reinterpret_cast<Cell*>(data + layout.parts_at());
  own_.reset();
  return true;
}

void CounterPage::Sum(std::span<uint64_t> out) const {
  const size_t count = std::min(out.size(), static_cast<size_t>(Counter::kCount));
  std::fill(out.begin(), out.end(), 0);
  for (size_t part = 0; part <= threads_; ++part) {
    for (size_t i = 0; i < count; ++i) out[i] += Part(part)[i].load(std::memory_order_relaxed);
  }
}

bool ReadCounterPage(int fd, CounterReading* out) {
  const SealedMapping page(fd, PROT_READ);
  CounterLayout layout;
  if (!ReadLayout(page, &layout)) return false;
  const auto cells = [&](size_t at) {
    return reinterpret_cast<CounterPage::Cell*>(page.bytes().data() + at);
  };
  std::string_view names(reinterpret_cast<const char*>(page.bytes().data() + layout.names_at()),
                         layout.names_bytes);
  out->numbers.clear();
  for (size_t i = 0; i < layout.counters; ++i) {
    const size_t end = names.find('\n');
    if (end == std::string_view::npos) return false;
    CounterReading::Number number{std::string(names.substr(0, end)), 0};
    names.remove_prefix(end + 1);
    for (size_t part = 0; part < layout.parts; ++part) {
      number.value +=
          cells(layout.parts_at())[part * layout.part_cells + i].load(std::memory_order_relaxed);
    }
    out->numbers.push_back(std::move(number));
  }
  // Another version may divide its pauses otherwise.
  if (layout.pause_cells == PauseHistogram::kCells) {
    out->pauses = PauseHistogram(cells(layout.pauses_at())).Read();
  }
  return true;
}

}  // namespace ironsocket
