// SPDX-License-Identifier: MIT
// What a worker counts, in a memfd that its threads add to and its master reads: at any time,
// without asking, and still when the worker is dead. The page names its numbers itself, so that a
// master of another version reads it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "control/sealed_memfd.h"
#include "engine.h"
#include "handoff/pauses.h"
#include "net/unique_fd.h"

namespace ironsocket {

// Counters of one thread; only it adds, readers sum over the threads. Atomic for the readers' sake,
// never contended.
class ThreadCounters {
 public:
  explicit ThreadCounters(std::atomic<uint64_t>* cells) : cells_(cells) {}

  void Add(Counter counter, uint64_t value = 1) {
    auto& cell = cells_[static_cast<size_t>(counter)];
    cell.store(cell.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  }
  // Of what only this thread has, as it stands now.
  void Set(Counter counter, uint64_t value) {
    auto& cell = cells_[static_cast<size_t>(counter)];
    if (cell.load(std::memory_order_relaxed) != value) cell.store(value, std::memory_order_relaxed);
  }
  // Gauges go down too; the sum over threads is right even where one thread's part wraps below
  // zero.
  void Subtract(Counter counter) { Add(counter, UINT64_MAX); }

 private:
  std::atomic<uint64_t>* cells_;
};

class CounterPage {
 public:
  using Cell = std::atomic<uint64_t>;

  // Memory of this process alone.
  explicit CounterPage(uint32_t threads);
  CounterPage(const CounterPage&) = delete;
  CounterPage& operator=(const CounterPage&) = delete;

  // The page of a worker with `threads` threads, sealed in its size; `names` as in `Counter`, at
  // most 64 KiB in all. 0 or -errno.
  static int Make(std::span<const std::string> names, uint32_t threads, UniqueFd* out);
  // Counts there from now on; before any thread has been given its part. False: it is no page for
  // this engine, or there is no memory for it. `fd` is borrowed.
  bool Use(int fd);

  // The part of one more thread.
  ThreadCounters ForThread() { return ThreadCounters(Part(++threads_given_)); }
  // A number that no thread owns.
  Cell& Shared(Counter counter) { return Part(0)[static_cast<size_t>(counter)]; }
  PauseHistogram pauses() { return PauseHistogram(pauses_); }
  // Sums, in the order of `Counter`.
  void Sum(std::span<uint64_t> out) const;

 private:
  Cell* Part(size_t index) const { return parts_ + index * kPartCells; }

  // Whole cache lines, so that threads don't meet.
  static constexpr size_t kPartCells = (static_cast<size_t>(Counter::kCount) + 7) / 8 * 8;
  friend struct CounterLayout;

  const uint32_t threads_;
  size_t threads_given_ = 0;
  std::unique_ptr<Cell[]> own_;
  SealedMapping mapped_;
  Cell* pauses_ = nullptr;
  Cell* parts_ = nullptr;
};

struct CounterReading {
  struct Number {
    std::string name;
    uint64_t value = 0;
  };
  std::vector<Number> numbers;
  PauseSummary pauses;
};

// What a page says now, whoever has made it. `fd` is borrowed. False: it is no page. Any process.
bool ReadCounterPage(int fd, CounterReading* out);

}  // namespace ironsocket
