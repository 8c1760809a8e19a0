// SPDX-License-Identifier: MIT
// What one turn of a session may cost the others of its relay thread: a flood of records that
// carry next to nothing is charged by the bytes on the wire and by the keys it makes us derive.
#include <doctest/doctest.h>

#include <condition_variable>

#include "live-engine.h"

using namespace ironsocket;

namespace {

// Stops the relay thread where it tells that a backend can't be reached, until it is let go on.
class Gate {
 public:
  void Stop() {
    std::unique_lock lock(mutex_);
    stops_++;
    changed_.notify_all();
    // Not for ever: a test that fails must be able to end.
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return passes_ > 0 || open_; });
    if (!open_) passes_--;
  }
  // Waits until the thread has stopped so many times in all.
  bool Stopped(int times) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return stops_ >= times; });
  }
  void LetOneGo() {
    std::lock_guard lock(mutex_);
    passes_++;
    changed_.notify_all();
  }
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int stops_ = 0, passes_ = 0;
  bool open_ = false;
};

// How many bytes of payload the flood gets through between the moment when it and another session
// are both ready and that session's turn, on one relay thread that does nothing meanwhile.
uint64_t FloodBeforeTurn(Bytes (*forge)(TrafficKeys& keys)) {
  LiveEngine live;  // for its sockets, plan and log; its own engine stays idle
  Gate gate;
  Engine engine({1, 1, 0}, live.log, [&](const EngineEvent& event) {
    if (event.type == LiveEngine::Type::kBackendFailed) gate.Stop();
  });
  const auto count = [&engine](Counter counter) {
    uint64_t values[static_cast<size_t>(Counter::kCount)];
    engine.Snapshot(values, std::size(values));
    return values[static_cast<size_t>(counter)];
  };
  // Two listeners whose backend refuses, which costs a turn: each name is told only
  // once in a second.
  Port fronts[2];
  const RefusingPort nobody;
  for (Port& front : fronts) {
    live.plan.listeners.push_back(live.plan.listeners[0]);
    live.plan.listeners.back().id = static_cast<uint32_t>(live.plan.listeners.size()) + 7;
    live.plan.listeners.back().name = std::to_string(live.plan.listeners.size());
    live.plan.listeners.back().fd = front.fd.get();
    live.plan.listeners.back().backend_addresses = {nobody.text};
    fcntl(front.fd.get(), F_SETFL, O_NONBLOCK);
  }
  const int large = 4 << 20;
  setsockopt(live.front.fd.get(), SOL_SOCKET, SO_RCVBUF, &large, sizeof large);
  std::string error;
  REQUIRE(engine.Configure(live.plan, &error));

  LiveClient flooding(live.front, TLS1_3_VERSION);
  REQUIRE(flooding.connected);
  UniqueFd backend = live.backend.Accept();
  TrafficKeys keys = flooding.WriteKeys(0);
  const Bytes flood = forge(keys);
  LiveClient first(fronts[0], TLS1_3_VERSION);
  REQUIRE(gate.Stopped(1));
  size_t sent = 0;
  ssize_t part;
  while (sent < flood.size() &&
         (part = send(flooding.fd(), flood.data() + sent, flood.size() - sent, MSG_DONTWAIT)) > 0) {
    sent += static_cast<size_t>(part);
  }
  LiveClient second(fronts[1], TLS1_3_VERSION);
  CHECK(Eventually([&] { return count(Counter::kHandshakesOpen) == 0; }));
  CHECK(count(Counter::kBytesFromClient) == 0);
  gate.LetOneGo();
  CHECK(gate.Stopped(2));
  const uint64_t bytes = count(Counter::kBytesFromClient);
  gate.Open();
  return bytes;
}

Bytes Padded(TrafficKeys& keys) {
  Bytes flood, inner(16385);
  inner[0] = 'x';
  inner[1] = static_cast<uint8_t>(ContentType::kApplicationData);
  for (int i = 0; i < 400; i++) {
    const Bytes record = Forge(keys, 23, inner);
    keys.sequence++;
    flood.insert(flood.end(), record.begin(), record.end());
  }
  return flood;
}

Bytes Updating(TrafficKeys& keys) {
  Bytes flood;
  for (int i = 0; i < 3000; i++) {
    for (const Bytes& record : {ForgeNext(keys, ContentType::kApplicationData, {'x'}),
                                ForgeNext(keys, ContentType::kHandshake, {24, 0, 0, 1, 0})}) {
      flood.insert(flood.end(), record.begin(), record.end());
    }
    REQUIRE(NextGeneration(&keys));
  }
  return flood;
}

}  // namespace

TEST_CASE("turn: records of 16 KiB that are nearly all padding are charged as 16 KiB each") {
  const uint64_t records = FloodBeforeTurn(Padded);
  CHECK(records > 0);
  CHECK(records <= 4 * 512 / 16);  // four turns
}

TEST_CASE("turn: a KeyUpdate is charged for the keys that it costs") {
  const uint64_t updates = FloodBeforeTurn(Updating);
  CHECK(updates > 0);
  CHECK(updates <= 4 * 512 / 8);
}
