// SPDX-License-Identifier: MIT
// What clients can be told to do. Each job prints one line of JSON and gives the exit code: 0, or 1
// when a connection failed or a byte was wrong, with the reason on stderr.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace load {

struct Options {
  uint16_t port = 0;
  // At the same time.
  int connections = 1;
  // Measured, after `warm_s` that are not.
  double seconds = 2;
  double warm_s = 0.5;
  // Of a request and its answer, or of a stream.
  uint64_t bytes = 100;
  // Requests a second, all connections together.
  double rate = 1000;
  // Whose CPU time is measured.
  std::vector<pid_t> pids;
};

// Connections one after the other in each of `connections` places: a full handshake, a request, its
// answer, close_notify, and the other side's end.
int RunHandshakes(const Options& options);
// One request after the other on each connection, the next when the answer to the last has come.
int RunRequests(const Options& options);
// A stream of `bytes` on each connection, from the backend or to it.
int RunDown(const Options& options);
int RunUp(const Options& options);
// Requests at a fixed rate, however long the answers take: how long they took, in microseconds,
// from when each was due.
int RunLatency(const Options& options);
// Takes orders from stdin: "open N" opens so many more connections, "ask" has each answer one
// request. Answers each with the number of connections that did. Ends at the end of stdin.
int RunIdle(const Options& options);

}  // namespace load
