// SPDX-License-Identifier: MIT
// What the threads of one engine share: limits, counters, the log, the way to JavaScript.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "engine.h"
#include "log/log.h"
#include "record/kernel_probe.h"

namespace ironsocket {

// Counters of one thread; only it adds, Snapshot sums over the threads. Atomic for the reader's
// sake, never contended.
class alignas(64) ThreadCounters {
 public:
  void Add(Counter counter, uint64_t value = 1) {
    auto& cell = values_[static_cast<size_t>(counter)];
    cell.store(cell.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  }
  // Gauges go down too; the sum over threads is right even where one thread's part wraps below
  // zero.
  void Subtract(Counter counter) { Add(counter, UINT64_MAX); }
  uint64_t Load(size_t index) const { return values_[index].load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<uint64_t>, static_cast<size_t>(Counter::kCount)> values_{};
};

struct EngineState {
  EngineState(Log& log, Engine::EventSink sink) : log(log), sink(std::move(sink)) {}

  Log& log;
  const Engine::EventSink sink;
  uint64_t key_update_records = 0;  // 0: the AEAD limit
  KernelAbilities kernel;           // does not change once threads run

  std::atomic<uint32_t> max_connections{0};
  std::atomic<uint32_t> fd_connections{
      0};  // connections that the file limit has room for, two descriptors each
  std::atomic<uint64_t> next_id{1};
  std::atomic<bool> draining{false};  // nothing is accepted any more
  std::atomic<bool> drained{false};   // and has been told
  std::atomic<bool> ending{false};    // nor does anything live on

  // Connections that are open, from accept to the last close.
  std::atomic<uint32_t> connections_open{0};
  std::atomic<uint32_t> connections_open_max{0};

  void ConnectionOpened() {
    const uint32_t open = connections_open.fetch_add(1, std::memory_order_relaxed) + 1;
    uint32_t max = connections_open_max.load(std::memory_order_relaxed);
    while (open > max && !connections_open_max.compare_exchange_weak(max, open)) {
    }
  }
  // Once, whoever sees first that nothing is accepted and nothing is left.
  void ReportIfDrained() {
    if (!draining.load() || connections_open.load() > 0 || drained.exchange(true)) return;
    sink({EngineEvent::Type::kDrained});
  }
  void ConnectionClosed() {
    if (connections_open.fetch_sub(1) == 1) ReportIfDrained();
  }
};

}  // namespace ironsocket
