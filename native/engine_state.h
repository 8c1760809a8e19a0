// SPDX-License-Identifier: MIT
// What the threads of one engine share: limits, counters, the log, the way to JavaScript.
#pragma once

#include <atomic>
#include <cstdint>

#include "connection_id.h"
#include "counter_page.h"
#include "engine.h"
#include "log/log.h"
#include "record/kernel_probe.h"

namespace ironsocket {

struct EngineState {
  EngineState(Log& log, Engine::EventSink sink, uint32_t threads)
      : log(log), sink(std::move(sink)), counters(threads) {}

  Log& log;
  const Engine::EventSink sink;
  uint64_t key_update_records = 0;  // 0: the AEAD limit
  KernelAbilities kernel;           // does not change once threads run

  std::atomic<uint32_t> max_connections{0};
  // Descriptors from this number on are not for sessions of another worker: another plan needs
  // them.
  std::atomic<uint64_t> spare_fds_from{UINT64_MAX};
  std::atomic<uint32_t> fd_connections{
      0};  // connections that the file limit has room for, two descriptors each
  // Connections of another worker that are on their way here.
  std::atomic<int64_t> expected{0};
  std::atomic<int64_t> expected_until_ms{0};
  std::atomic<uint32_t> takings{0};  // pairs that they come by
  std::atomic<uint64_t> next_id{FirstConnectionId(0)};
  std::atomic<bool> draining{false};  // nothing is accepted any more
  std::atomic<bool> drained{false};   // and has been told
  std::atomic<bool> ending{false};    // nor does anything live on

  CounterPage counters;

  // Connections that are open, from accept to the last close.
  uint64_t connections_open() {
    return counters.Shared(Counter::kConnectionsOpen).load(std::memory_order_relaxed);
  }

  // Those for which there has to be room: connections that are open, and those that are to come
  // from another worker. Were it given away, they would stay there.
  uint64_t connections_bound(int64_t now_ms) {
    const int64_t more = expected.load(std::memory_order_relaxed);
    const bool coming = now_ms < expected_until_ms.load(std::memory_order_relaxed);
    return connections_open() + (more > 0 && coming ? static_cast<uint64_t>(more) : 0);
  }
  void Expect(uint32_t connections, int64_t now_ms) {
    ExpectMore(now_ms);
    expected = connections;
  }
  // Some have come, so that others are on their way. Not all do: what ends in the other worker, or
  // stays there, is not waited for.
  void ExpectMore(int64_t now_ms) {
    // Longer than a donor tries to begin (src/worker/worker.ts).
    constexpr int64_t kExpectMs = 15'000;
    expected_until_ms.store(now_ms + kExpectMs, std::memory_order_relaxed);
  }
  // One has come, or won't; or it goes back and comes again.
  void NoLongerExpectOne() { expected.fetch_sub(1, std::memory_order_relaxed); }
  void ExpectOneAgain() { expected.fetch_add(1, std::memory_order_relaxed); }
  void TakingEnded() {
    if (takings.fetch_sub(1) == 1) expected = 0;
  }

  void ConnectionOpened() {
    auto& most = counters.Shared(Counter::kConnectionsOpenMax);
    const uint64_t open = counters.Shared(Counter::kConnectionsOpen).fetch_add(1) + 1;
    uint64_t max = most.load(std::memory_order_relaxed);
    while (open > max && !most.compare_exchange_weak(max, open)) {
    }
  }
  // Once, whoever sees first that nothing is accepted and nothing is left.
  void ReportIfDrained() {
    if (!draining.load() || counters.Shared(Counter::kConnectionsOpen).load() > 0 ||
        drained.exchange(true)) {
      return;
    }
    // Whoever takes sessions counts them and then looks at `drained`, we do it the other way round:
    // one of us sees the other.
    if (counters.Shared(Counter::kConnectionsOpen).load() > 0) {
      drained = false;
      return;
    }
    sink({EngineEvent::Type::kDrained});
  }
  void ConnectionClosed() {
    if (counters.Shared(Counter::kConnectionsOpen).fetch_sub(1) == 1) ReportIfDrained();
  }
};

}  // namespace ironsocket
