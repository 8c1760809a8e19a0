// SPDX-License-Identifier: MIT
// How long sessions stood still on their way: from the moment the donor let go of them to their
// first turn with the recipient. One thread adds, any reads.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ironsocket {

class PauseHistogram {
 public:
  // Bucket i counts pauses of less than 2^i microseconds, and not less than half of that.
  static constexpr size_t kBuckets = 32;

  void Add(int64_t us, size_t sessions) {
    const size_t width =
        static_cast<size_t>(std::bit_width(static_cast<uint64_t>(us > 0 ? us : 0)));
    auto& bucket = buckets_[width < kBuckets ? width : kBuckets - 1];
    bucket.store(bucket.load(std::memory_order_relaxed) + sessions, std::memory_order_relaxed);
    if (us > longest_us_.load(std::memory_order_relaxed)) {
      longest_us_.store(us, std::memory_order_relaxed);
    }
  }
  uint64_t bucket(size_t index) const { return buckets_[index].load(std::memory_order_relaxed); }
  int64_t longest_us() const { return longest_us_.load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<uint64_t>, kBuckets> buckets_{};
  std::atomic<int64_t> longest_us_{0};
};

}  // namespace ironsocket
