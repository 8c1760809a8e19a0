// SPDX-License-Identifier: MIT
// What the threads of the engine stand on: slab, timers, inbox, threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "log-output.h"
#include "loop/clock.h"
#include "loop/epoll.h"
#include "loop/memory_wait.h"
#include "loop/thread.h"
#include "loop/timers.h"
#include "relay/slab.h"

using namespace ironsocket;

namespace {

struct Thing {
  static inline int alive = 0;
  uint64_t stamp = 42;
  uint8_t body[500] = {};
  Thing() { alive++; }
  ~Thing() { alive--; }
};

uintptr_t ChunkOf(const Thing* thing) { return reinterpret_cast<uintptr_t>(thing) >> 16; }

}  // namespace

TEST_CASE("slab: objects are made new, do not overlap, and their chunks fill up first") {
  Slab<Thing> slab;
  std::vector<Thing*> things;
  std::set<uintptr_t> chunks;
  for (uint64_t i = 0; i < 1000; i++) {
    Thing* thing = slab.Create();
    REQUIRE(thing != nullptr);
    CHECK(thing->stamp == 42);
    thing->stamp = i;
    std::fill(std::begin(thing->body), std::end(thing->body), static_cast<uint8_t>(i));
    things.push_back(thing);
    chunks.insert(ChunkOf(thing));
  }
  CHECK(Thing::alive == 1000);
  CHECK(slab.used() == 1000);
  CHECK(chunks.size() == (1000 + 127) / 128);  // 128 in 64 KiB, less the chunk's own 64 bytes
  for (uint64_t i = 0; i < 1000; i++) {
    CHECK(things[i]->stamp == i);
    CHECK(things[i]->body[499] == static_cast<uint8_t>(i));
  }
  for (Thing* thing : things) slab.Destroy(thing);
  CHECK(Thing::alive == 0);
  CHECK(slab.used() == 0);
}

#ifdef __SANITIZE_ADDRESS__
TEST_CASE("slab: the sanitizer knows which places are nobody's") {
  Slab<Thing> slab;
  Thing* thing = slab.Create();
  const auto poisoned = [&] { return __asan_region_is_poisoned(thing, sizeof *thing) != nullptr; };
  CHECK(!poisoned());
  slab.Destroy(thing);
  CHECK(__asan_address_is_poisoned(thing->body));
  CHECK(slab.Create() == thing);
  CHECK(!poisoned());
  slab.Destroy(thing);
}
#endif

TEST_CASE("slab: a place that became free is taken before there is another chunk") {
  Slab<Thing> slab;
  std::vector<Thing*> things;
  for (int i = 0; i < 3 * 127; i++) things.push_back(slab.Create());
  std::set<uintptr_t> chunks;
  for (Thing* thing : things) chunks.insert(ChunkOf(thing));
  const auto swap_all = [&](const std::vector<size_t>& places) {
    for (size_t i : places) slab.Destroy(things[i]);
    for (size_t i : places) {
      things[i] = slab.Create();
      CHECK(chunks.contains(ChunkOf(things[i])));
    }
  };
  for (size_t first : {254u, 127u, 0u}) swap_all({first});
  swap_all({0, 127, 254});
  swap_all({254, 0, 127, 1, 255});
  for (Thing* thing : things) slab.Destroy(thing);
}

TEST_CASE("slab: in any order of birth and death") {
  Slab<Thing> slab;
  std::vector<std::pair<Thing*, uint64_t>> alive;
  uint32_t state = 3;
  for (uint64_t step = 0; step < 60'000; step++) {
    state = state * 1664525 + 1013904223;
    // Grows for a while, then shrinks, and so on.
    const bool create = alive.empty() || (state >> 24) < ((step / 5000) % 2 ? 90u : 170u);
    if (create) {
      Thing* thing = slab.Create();
      REQUIRE(thing->stamp == 42);
      thing->stamp = step;
      alive.emplace_back(thing, step);
    } else {
      std::swap(alive[(state >> 4) % alive.size()], alive.back());
      REQUIRE(alive.back().first->stamp == alive.back().second);
      slab.Destroy(alive.back().first);
      alive.pop_back();
    }
  }
  for (auto& [thing, stamp] : alive) {
    CHECK(thing->stamp == stamp);
    slab.Destroy(thing);
  }
  CHECK(Thing::alive == 0);
}

TEST_CASE("timers: each expires at its deadline, in order within a duration") {
  Timers timers;
  TimerNode a, b, c, d;
  CHECK(timers.Timeout(0) == -1);
  timers.Arm(&a, 100, 0);
  timers.Arm(&b, 100, 10);
  timers.Arm(&c, 50, 20);
  CHECK(timers.Timeout(20) == 50);
  CHECK(timers.Expired(69) == nullptr);
  CHECK(timers.Expired(70) == &c);
  CHECK_FALSE(c.armed());
  CHECK(timers.Timeout(70) == 30);
  CHECK(timers.Timeout(500) == 0);
  timers.Arm(&a, 100, 30);  // moves behind b
  CHECK(timers.Expired(500) == &b);
  CHECK(timers.Expired(500) == &a);
  CHECK(timers.Expired(500) == nullptr);
  timers.Arm(&d, 3'600'000, 0);
  CHECK(timers.Timeout(0) == 60'000);  // epoll_wait gets an int, and looks again
  d.Cancel();
  d.Cancel();
  CHECK(timers.Timeout(0) == -1);
}

TEST_CASE("timers: many nodes, moved and cancelled, agree with a plain list") {
  Timers timers;
  std::vector<TimerNode> nodes(200);
  std::vector<int64_t> deadlines(200, -1);
  const uint32_t durations[] = {5, 50, 500, 1000};
  uint32_t state = 5;
  for (int64_t now = 0; now < 3000; now++) {
    state = state * 1664525 + 1013904223;
    const size_t i = (state >> 8) % nodes.size();
    if (state >> 30 == 0) {
      nodes[i].Cancel();
      deadlines[i] = -1;
    } else {
      timers.Arm(&nodes[i], durations[state >> 28 & 3], now);
      deadlines[i] = now + durations[state >> 28 & 3];
    }
    while (TimerNode* node = timers.Expired(now)) {
      const size_t which = static_cast<size_t>(node - nodes.data());
      REQUIRE(deadlines[which] >= 0);
      REQUIRE(deadlines[which] <= now);
      deadlines[which] = -1;
    }
    int64_t first = -1;
    for (int64_t deadline : deadlines) {
      if (deadline >= 0 && (first < 0 || deadline < first)) first = deadline;
    }
    REQUIRE(timers.Timeout(now) == (first < 0 ? -1 : first - now));
  }
}

TEST_CASE("inbox: wakes for the first message, and not once it is taken") {
  Inbox<int> inbox;
  Epoll epoll;
  REQUIRE(epoll.Add(inbox.fd(), EPOLLIN, 7) == 0);
  std::array<epoll_event, 4> events;
  for (int round = 0; round < 3; round++) {
    CHECK(epoll.Wait(events, 0).empty());
    inbox.Push(round);
    CHECK(epoll.Wait(events, 0).size() == 1);
    inbox.Push(9);
    inbox.Heard();
    CHECK(inbox.Take() == std::vector<int>{round, 9});
  }
}

TEST_CASE("inbox: who is awake takes what nobody has told it of, and is not woken for it") {
  Inbox<int> inbox;
  Epoll epoll;
  REQUIRE(epoll.Add(inbox.fd(), EPOLLIN, 7) == 0);
  std::array<epoll_event, 4> events;
  inbox.Add(1);
  CHECK(inbox.Take() == std::vector<int>{1});
  inbox.Wake();
  CHECK(epoll.Wait(events, 0).empty());
  // Taken between the decision to tell and the telling: the next one is told of as well.
  inbox.Push(2);
  CHECK(inbox.Take() == std::vector<int>{2});
  inbox.Push(3);
  CHECK(epoll.Wait(events, 0).size() == 1);
  inbox.Heard();
  CHECK(epoll.Wait(events, 0).empty());
  CHECK(inbox.Take() == std::vector<int>{3});
}

TEST_CASE("inbox: wakes for what has waited long enough") {
  Inbox<int> inbox;
  Epoll epoll;
  REQUIRE(epoll.Add(inbox.fd(), EPOLLIN, 7) == 0);
  std::array<epoll_event, 4> events;
  constexpr int64_t kHourUs = 3'600'000'000;
  inbox.Add(1);
  inbox.Wake(kHourUs);
  CHECK(epoll.Wait(events, 0).empty());
  const int64_t added_us = NowUs();
  while (NowUs() == added_us) {
  }
  inbox.Wake(1);
  CHECK(epoll.Wait(events, 0).size() == 1);
}

TEST_CASE("inbox: every message of many threads arrives once, in the order of its thread") {
  Inbox<std::pair<int, int>> inbox;
  Epoll epoll;
  REQUIRE(inbox.valid());
  REQUIRE(epoll.Add(inbox.fd(), EPOLLIN | EPOLLET, 7) == 0);
  constexpr int kThreads = 4, kMessages = 5000;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; i++) {
    threads.emplace_back([&inbox, i] {
      for (int n = 0; n < kMessages; n++) inbox.Push({i, n});
    });
  }
  int next[kThreads] = {}, total = 0;
  bool ordered = true, woken = true;
  std::array<epoll_event, 4> events;
  while (total < kThreads * kMessages && woken) {
    // A wake-up that was lost would show here.
    const auto ready = epoll.Wait(events, 10'000);
    woken = ready.size() == 1 && ready[0].data.u64 == 7;
    inbox.Heard();
    for (auto [thread, number] : inbox.Take()) {
      ordered = ordered && number == next[thread]++;
      total++;
    }
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(woken);
  CHECK(ordered);
  CHECK(total == kThreads * kMessages);
  CHECK(inbox.Take().empty());
}

TEST_CASE("thread: has its name, and no signal reaches it") {
  std::string name, error;
  bool all_blocked = true;
  Thread thread;
  CHECK(thread.Start(
      "fifteen-letters",
      [&] {
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        for (int signal : {SIGTERM, SIGUSR1, SIGPIPE, SIGINT}) {
          if (!sigismember(&mask, signal)) all_blocked = false;
        }
        // Its maker names it, perhaps after it has started.
        Eventually([&] {
          char text[32] = "";
          pthread_getname_np(pthread_self(), text, sizeof text);
          name = text;
          return name == "fifteen-letters";
        });
      },
      &error));
  thread.Join();
  thread.Join();
  CHECK(name == "fifteen-letters");
  CHECK(all_blocked);
  CHECK(error == "");
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  CHECK_FALSE(sigismember(&mask, SIGTERM));
}

TEST_CASE("memory wait: each shortage is waited for a second, and then it is an error") {
  const std::new_handler before = std::set_new_handler(WaitForMemory);
  WaitForMemory();  // another shortage, of a thread that gets its memory
  std::thread starved([] {
    const int64_t start = NowMs();
    int calls = 0;
    // As operator new does it.
    for (; calls < 400 && std::get_new_handler() != nullptr; calls++) std::get_new_handler()();
    CHECK(NowMs() - start >= 1'000);
    CHECK(calls > 1);
    CHECK(calls < 400);  // it gave up, and did not spin
  });
  starved.join();
  std::set_new_handler(WaitForMemory);
  WaitForMemory();
  const bool still = std::get_new_handler() == WaitForMemory;
  CHECK(still);  // the first one is long over
  std::set_new_handler(before);
}
