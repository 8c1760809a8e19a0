// SPDX-License-Identifier: MIT
#include <algorithm>
#include <deque>

#include "echo_client.h"

namespace load {
namespace {

class Latency {
 public:
  explicit Latency(const Options& options)
      : options_(options),
        clients_(options),
        interval_ns_(static_cast<uint64_t>(1e9 / options.rate)) {}

  int Run() {
    clients_.Open(options_.connections);
    for (const auto& client : clients_.all()) free_.push_back(client.get());
    RunFor(options_.warm_s);
    taken_us_.clear();
    RunFor(options_.seconds);
    if (taken_us_.empty()) Fail("no answer came");
    std::sort(taken_us_.begin(), taken_us_.end());
    printf("{\"count\":%zu,\"p50\":%.1f,\"p99\":%.1f,\"longest\":%.1f}\n", taken_us_.size(),
           Part(0.5), Part(0.99), taken_us_.back());
    return 0;
  }

 private:
  // A request is due every interval; one for which no connection is free waits, and its wait
  // counts.
  void RunFor(double seconds) {
    uint64_t due = NowNs();
    const uint64_t until = InSeconds(seconds);
    clients_.loop().RunTimed<EchoClient>(
        [this](EchoClient* client) {
          if (!client->Answered()) return;
          taken_us_.push_back(static_cast<double>(NowNs() - client->due_ns) / 1e3);
          free_.push_back(client);
        },
        [&] {
          const uint64_t now = NowNs();
          while (due <= now && !free_.empty()) {
            EchoClient* client = free_.front();
            free_.pop_front();
            client->due_ns = due;
            client->Ask();
            due += interval_ns_;
          }
          return now >= until ? 0 : std::max<uint64_t>(due > now ? due - now : 1'000'000, 1);
        });
  }

  double Part(double part) const {
    return taken_us_[static_cast<size_t>(part * static_cast<double>(taken_us_.size() - 1))];
  }

  const Options& options_;
  EchoClients clients_;
  uint64_t interval_ns_;
  std::deque<EchoClient*> free_;
  std::vector<double> taken_us_;
};

}  // namespace

int RunLatency(const Options& options) { return Latency(options).Run(); }

}  // namespace load
