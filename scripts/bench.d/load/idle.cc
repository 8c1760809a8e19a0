// SPDX-License-Identifier: MIT
#include "echo_client.h"

namespace load {

int RunIdle(const Options& options) {
  EchoClients clients(options);
  char line[64];
  while (fgets(line, sizeof line, stdin) != nullptr) {
    size_t count = 0;
    if (sscanf(line, "open %zu", &count) == 1) {
      clients.Open(count);
    } else {
      for (const auto& client : clients.all()) client->Ask();
      clients.loop().Run<EchoClient>([&count](EchoClient* client) { count += client->Answered(); },
                                     [&] { return count == clients.all().size(); });
    }
    printf("%zu\n", count);
    fflush(stdout);
  }
  return 0;
}

}  // namespace load
