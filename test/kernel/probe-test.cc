// SPDX-License-Identifier: MIT
// The probe itself: what it costs, and what it says where it can't try.
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "sockets.h"

using namespace ironsocket;

namespace {

long OpenFiles() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return std::distance(begin(files), end(files)) - 1;
}

// The number that `run` gives (0 to 255), in a process with a network namespace of its own.
int InOtherNetwork(const std::function<int()>& run) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) _exit(unshare(CLONE_NEWNET) == 0 ? run() : 255);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("probe: finds the same each time, keeps no descriptor and counts no error") {
  const char* const errors[] = {"TlsDecryptError", "TlsDecryptRetry", "TlsRxRekeyError",
                                "TlsTxRekeyError"};
  Bytes before;
  const long files = OpenFiles();
  for (int i = 0; i < 10; ++i) {
    long counts[4];
    for (int j = 0; j < 4; ++j) counts[j] = TlsStat(errors[j]);
    const KernelAbilities again = ProbeKernel();
    CHECK(std::memcmp(again.keys_error, Kernel().keys_error, sizeof again.keys_error) == 0);
    CHECK(again.ulp_error == Kernel().ulp_error);
    CHECK(again.rekey == Kernel().rekey);
    CHECK(again.partial_poll == Kernel().partial_poll);
    CHECK(again.splice_whole == Kernel().splice_whole);
    CHECK(again.max_payload == Kernel().max_payload);
    for (int j = 0; j < 4; ++j) CHECK(TlsStat(errors[j]) == counts[j]);
    CHECK(OpenFiles() == files);
  }
}

TEST_CASE("probe: too few descriptors are told as such, for the worse") {
  rlimit whole{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &whole) == 0);
  const long files = OpenFiles();
  for (int more = 0; more < 6; ++more) {
    CAPTURE(more);
    const rlimit few{static_cast<rlim_t>(files + more), whole.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
    const KernelAbilities found = ProbeKernel();
    REQUIRE(setrlimit(RLIMIT_NOFILE, &whole) == 0);
    CHECK(OpenFiles() == files);
    // A connection takes three, of which the listener goes; a pipe takes two more.
    const int expected = more < 3 ? EMFILE : 0;
    CHECK(found.ulp_error == expected);
    for (TlsVersion version : KernelAbilities::kVersions) {
      for (CipherType cipher : KernelAbilities::kCiphers) {
        CHECK(found.Error(version, cipher, Direction::kSend) == expected);
      }
    }
    if (more < 4) CHECK_FALSE(found.splice_whole);
  }
}

TEST_CASE("probe: without a loopback it says why, at once") {
  CHECK(InOtherNetwork([] { return ProbeKernel().ulp_error; }) == ENETUNREACH);
}

TEST_CASE("probe: the loopback of IPv6 will do") {
  const int error = InOtherNetwork([] {
    if (std::system("ip link set lo up && ip address del 127.0.0.1/8 dev lo") != 0) return 254;
    return ProbeKernel().ulp_error;
  });
  CHECK(error == 0);
}
