// SPDX-License-Identifier: MIT
// How long sessions stood still on their way: from the moment the donor let go of them to the
// recipient's answer that it has them. Those adopted from a dead donor are not in it. Any thread
// adds and reads.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ironsocket {

// Microseconds.
struct PauseSummary {
  uint64_t longest_us = 0;
  uint64_t p99_us = 0;  // 99 of 100 were not longer
};

// A view of kCells numbers that somebody else keeps.
class PauseHistogram {
 public:
  // Below 16 us each value has its bucket; above, every octave has 16 of equal width. So a bucket's
  // upper bound is at most a sixteenth too high.
  static constexpr size_t kSteps = 16;
  static constexpr size_t kStepBits = 4;
  static constexpr size_t kOctaves = 28;  // up to 2^32 us, over an hour
  static constexpr size_t kBuckets = kSteps + kOctaves * kSteps;
  static constexpr size_t kCells = kBuckets + 1;  // the last: the longest
  using Cell = std::atomic<uint64_t>;

  explicit PauseHistogram(Cell* cells) : cells_(cells) {}

  void Add(int64_t us, size_t sessions) {
    const uint64_t pause = us > 0 ? static_cast<uint64_t>(us) : 0;
    cells_[BucketOf(pause)].fetch_add(sessions, std::memory_order_relaxed);
    uint64_t longest = cells_[kBuckets].load(std::memory_order_relaxed);
    while (pause > longest && !cells_[kBuckets].compare_exchange_weak(longest, pause)) {
    }
  }

  PauseSummary Read() const {
    PauseSummary out;
    out.longest_us = cells_[kBuckets].load(std::memory_order_relaxed);
    uint64_t total = 0;
    for (size_t i = 0; i < kBuckets; ++i) total += cells_[i].load(std::memory_order_relaxed);
    uint64_t below = 0;
    for (size_t i = 0; i < kBuckets && below * 100 < total * 99; ++i) {
      below += cells_[i].load(std::memory_order_relaxed);
      out.p99_us = std::min(LastOf(i), out.longest_us);
    }
    return out;
  }

  static size_t BucketOf(uint64_t us) {
    if (us < kSteps) return us;
    const size_t octave = static_cast<size_t>(std::bit_width(us)) - kStepBits - 1;
    if (octave >= kOctaves) return kBuckets - 1;
    return kSteps + octave * kSteps + ((us >> octave) - kSteps);
  }
  // The longest pause that the bucket counts.
  static uint64_t LastOf(size_t bucket) {
    if (bucket < kSteps) return bucket;
    const size_t octave = bucket / kSteps - 1;
    return ((kSteps + bucket % kSteps + 1) << octave) - 1;
  }

 private:
  Cell* cells_;
};

}  // namespace ironsocket
