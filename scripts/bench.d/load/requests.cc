// SPDX-License-Identifier: MIT
#include "echo_client.h"

namespace load {

int RunRequests(const Options& options) {
  EchoClients clients(options);
  clients.Open(options.connections);
  uint64_t count = 0;
  const auto step = [&count](EchoClient* client) {
    if (!client->Answered()) return;
    ++count;
    client->Ask();
  };
  const auto run_for = [&](double seconds) {
    const uint64_t until = InSeconds(seconds);
    clients.loop().Run<EchoClient>(step, [until] { return NowNs() >= until; });
  };
  for (const auto& client : clients.all()) client->Ask();
  run_for(options.warm_s);
  const uint64_t before = count;
  const CpuClock clock(options.pids);
  run_for(options.seconds);
  PrintSpent(clock.Since(), count - before);
  return 0;
}

}  // namespace load
