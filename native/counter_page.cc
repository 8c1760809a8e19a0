// SPDX-License-Identifier: MIT
#include "counter_page.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

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

// A page mapped whole, with a head that fits its size.
class Mapping {
 public:
  Mapping(int fd, int protection) {
    struct stat status;
    const int seals = fcntl(fd, F_GET_SEALS);
    // Without the seals whoever holds it could cut it under our feet.
    if (seals < 0 || (seals & kSeals) != kSeals || fstat(fd, &status) != 0) return;
    size_ = static_cast<size_t>(status.st_size);
    if (size_ < sizeof layout_) return;
    void* mapped = mmap(nullptr, size_, protection, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) return;
    data_ = static_cast<uint8_t*>(mapped);
    std::memcpy(&layout_, data_, sizeof layout_);
    good_ = layout_.IsSound() && layout_.size() == size_;
  }
  ~Mapping() {
    if (data_) munmap(data_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  bool good() const { return good_; }
  const CounterLayout& layout() const { return layout_; }
  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  uint8_t* Release() { return std::exchange(data_, nullptr); }

 private:
  CounterLayout layout_;
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  bool good_ = false;
};

}  // namespace

CounterPage::CounterPage(uint32_t threads)
    : threads_(threads),
      own_(new Cell[PauseHistogram::kCells + (threads + size_t{1}) * kPartCells]()),
      pauses_(own_.get()),
      parts_(own_.get() + PauseHistogram::kCells) {}

CounterPage::~CounterPage() {
  if (mapped_) munmap(mapped_, mapped_size_);
}

int CounterPage::Make(std::span<const std::string> names, uint32_t threads, UniqueFd* out) {
  std::string text;
  for (const std::string& name : names) text.append(name).push_back('\n');
  const CounterLayout layout = CounterLayout::Of(threads, text.size());
  if (names.size() != layout.counters || !layout.IsSound()) return -EINVAL;
  UniqueFd fd(memfd_create("ironsocket-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid() || ftruncate(fd.get(), static_cast<off_t>(layout.size())) != 0) return -errno;
  const auto write = [&](const void* bytes, size_t size, size_t at) {
    return pwrite(fd.get(), bytes, size, static_cast<off_t>(at)) == static_cast<ssize_t>(size);
  };
  if (!write(&layout, sizeof layout, 0) || !write(text.data(), text.size(), layout.names_at())) {
    return errno != 0 ? -errno : -ENOSPC;
  }
  if (fcntl(fd.get(), F_ADD_SEALS, kSeals | F_SEAL_SEAL) != 0) return -errno;
  *out = std::move(fd);
  return 0;
}

bool CounterPage::Use(int fd) {
  Mapping page(fd, PROT_READ | PROT_WRITE);
  const CounterLayout& layout = page.layout();
  const CounterLayout wanted = CounterLayout::Of(threads_, layout.names_bytes);
  if (!page.good() || layout.counters != wanted.counters ||
      layout.part_cells != wanted.part_cells || layout.parts < wanted.parts ||
      layout.pause_cells != wanted.pause_cells) {
    return false;
  }
  mapped_size_ = page.size();
  uint8_t* const data = page.Release();
  mapped_ = data;
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
  const Mapping page(fd, PROT_READ);
  if (!page.good()) return false;
  const CounterLayout& layout = page.layout();
  const auto cells = [&](size_t at) {
    return reinterpret_cast<CounterPage::Cell*>(page.data() + at);
  };
  std::string_view names(reinterpret_cast<const char*>(page.data() + layout.names_at()),
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
