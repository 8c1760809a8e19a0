// SPDX-License-Identifier: MIT
// Memory that processes share: all of it is there before anybody writes to it, so that a shortage
// is an error where it is made, and not a SIGBUS in whoever uses it.
// Without ThreadSanitizer: there is one thread.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include "control/sealed_memfd.h"
#include "failing-calls.h"
#include "handoff/batch.h"
#include "socket-pair.h"

using namespace ironsocket;

TEST_CASE("sealed memfd: every page is there, so none can be missing when it is written") {
  UniqueFd fd;
  REQUIRE(MakeSealedMemfd("test", 1 << 20, 0, &fd) == 0);
  struct stat status {};
  REQUIRE(fstat(fd.get(), &status) == 0);
  CHECK(status.st_size == 1 << 20);
  CHECK(status.st_blocks * 512 >= 1 << 20);
}

TEST_CASE("sealed memfd: where memory runs out it is an error, and nothing is left open") {
  for (const int error : {ENOSPC, ENOMEM}) {
    CAPTURE(error);
    const int next = UniqueFd(memfd_create("next", MFD_CLOEXEC)).get();
    FailingCalls failing(FailingCall::kFallocate, error, 1);
    UniqueFd fd;
    CHECK(MakeSealedMemfd("test", 1 << 20, 0, &fd) == -error);
    CHECK_FALSE(fd.valid());
    CHECK(UniqueFd(memfd_create("next", MFD_CLOEXEC)).get() == next);
  }
  FailingCalls interrupted(FailingCall::kFallocate, EINTR, 3);
  UniqueFd fd;
  CHECK(MakeSealedMemfd("test", 1 << 20, 0, &fd) == 0);
}

TEST_CASE("sealed memfd: a batch for which there is no memory is not sent") {
  const SocketPair pair;
  const uint8_t frames[1'000] = {};
  FailingCalls failing(FailingCall::kFallocate, ENOSPC, 1);
  CHECK(SendPrepare(pair.ours.get(), 1, 1, 0, frames, {}) == -ENOSPC);
  uint8_t byte;
  CHECK(recv(pair.theirs.get(), &byte, 1, MSG_DONTWAIT) == -1);
}
