// SPDX-License-Identifier: MIT
// The keeper: the process whose PID never changes. It holds descriptors by name (listening sockets,
// the log, the channels and pidfds of workers, certificates, the master's state) so that they
// outlive a master, starts and restarts the master, passes signals on, and reaps. It reads no
// configuration, no file and no network byte; one thread, no Node.
//
//   keeper PROGRAM ARGUMENT...       PROGRAM is started with its arguments as the master; its fd 3
//                                    is the channel
//   keeper --resume FD               goes on where another keeper was: FD holds its snapshot
//   keeper --knows VERSION           exits with 0 if it could resume a snapshot of that version
//
// Masters run in sessions of their own, so that Ctrl-C in a terminal reaches the keeper alone.
#include "keeper/keeper.h"

#include <unistd.h>

#include <string_view>

#include "keeper/number.h"

int main(int argc, char** argv) {
  using namespace ironsocket;
  const std::string_view option = argc == 3 ? argv[1] : "";
  if (option == "--knows") return ToNumber(argv[2], -1) == kSnapshotVersion ? 0 : kExitUsage;
  if (argc < 2) {
    const char usage[] = "keeper: started by `ironsocket run`, not by hand\n";
    return ::write(STDERR_FILENO, usage, sizeof(usage) - 1) < 0 ? kExitSystem : kExitUsage;
  }
  Keeper keeper;
  if (option != "--resume") {
    keeper.Begin(argv + 1);
  } else if (!keeper.Resume(ToNumber(argv[2], -1))) {
    Say(STDERR_FILENO, "fatal", "system_error",
        {{"error_msg", "the keeper can't go on"}, {"error_desc", "unknown snapshot"}});
    return kExitInternal;
  }
  return keeper.Run();
}
