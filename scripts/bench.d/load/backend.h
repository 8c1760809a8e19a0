// SPDX-License-Identifier: MIT
// The service behind the proxy: one thread that echoes, sends and takes, as the header of each
// connection asks.
#pragma once

namespace load {

// Prints the port that it listens on at 127.0.0.1, and serves until it is killed. Otherwise an exit
// code.
int RunBackend();

}  // namespace load
