// SPDX-License-Identifier: MIT
// load backend | handshakes | requests | down | up | latency | idle  [--NAME VALUE]...: see jobs.h
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "backend.h"
#include "jobs.h"

namespace {

std::vector<pid_t> Pids(const char* text) {
  std::vector<pid_t> pids;
  for (char* end = nullptr; *text != '\0'; text = *end == ',' ? end + 1 : end) {
    pids.push_back(static_cast<pid_t>(strtol(text, &end, 10)));
    if (end == text) return {};
  }
  return pids;
}

bool Set(load::Options* options, std::string_view name, const char* value) {
  if (name == "--port") {
    options->port = static_cast<uint16_t>(atoi(value));
  } else if (name == "--connections") {
    options->connections = atoi(value);
  } else if (name == "--seconds") {
    options->seconds = atof(value);
  } else if (name == "--warm") {
    options->warm_s = atof(value);
  } else if (name == "--bytes") {
    options->bytes = strtoull(value, nullptr, 10);
  } else if (name == "--rate") {
    options->rate = atof(value);
  } else if (name == "--pids") {
    options->pids = Pids(value);
  } else {
    return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  const std::string_view job = argc > 1 ? argv[1] : "";
  if (job == "backend") return load::RunBackend();
  load::Options options;
  for (int i = 2; i < argc; i += 2) {
    if (i + 1 == argc || !Set(&options, argv[i], argv[i + 1])) {
      fprintf(stderr, "what is %s?\n", argv[i]);
      return 64;
    }
  }
  if (job == "handshakes") return load::RunHandshakes(options);
  if (job == "requests") return load::RunRequests(options);
  if (job == "down") return load::RunDown(options);
  if (job == "up") return load::RunUp(options);
  if (job == "latency") return load::RunLatency(options);
  if (job == "idle") return load::RunIdle(options);
  fprintf(stderr, "no such job\n");
  return 64;
}
