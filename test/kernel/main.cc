// SPDX-License-Identifier: MIT
// Tests that need a kernel with TLS and fail without one: scripts/kernel-lab kernel-tests. What
// differs from kernel to kernel is asserted per ability, as the probe found it.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <sys/utsname.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "sockets.h"

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);  // splice has no MSG_NOSIGNAL
  utsname system{};
  uname(&system);
  const ironsocket::KernelAbilities& kernel = Kernel();
  std::printf("Linux %s: ulp %s, rekey %d, partial poll %d, whole splice %d, max payload %d\n",
              system.release, kernel.ulp_error == 0 ? "ok" : std::strerror(kernel.ulp_error),
              kernel.rekey, kernel.partial_poll, kernel.splice_whole, kernel.max_payload);
  if (kernel.ulp_error != 0) return 1;
  return doctest::Context(argc, argv).run();
}
