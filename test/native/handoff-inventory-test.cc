// SPDX-License-Identifier: MIT
// Without ThreadSanitizer: there is one thread.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "handoff/inventory.h"
#include "made-session.h"

using namespace ironsocket;

namespace {

Bytes Contents(int fd) {
  Bytes bytes(static_cast<size_t>(lseek(fd, 0, SEEK_END)));
  REQUIRE(pread(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return bytes;
}

UniqueFd Sealed(const Bytes& bytes, int seals = F_SEAL_SHRINK | F_SEAL_GROW) {
  UniqueFd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  REQUIRE(fcntl(fd.get(), F_ADD_SEALS, seals) == 0);
  return fd;
}

UniqueFd Made(size_t count) {
  Inventory inventory;
  for (uint64_t seed = 0; seed < count; ++seed) {
    Shape shape;
    shape.kernel_rx = seed % 4 == 1 || seed % 4 == 3;
    shape.kernel_tx = seed % 4 >= 2;
    shape.unsent = seed;
    inventory.Add(MadeSession(shape, seed).session, kMadeNow);
    if (inventory.slice_full()) CHECK(inventory.Flush());
  }
  return inventory.Finish();
}

}  // namespace

TEST_CASE("inventory: every session is counted by who carries it") {
  const UniqueFd fd = Made(201);
  Examined examined;
  REQUIRE(Examine(fd.get(), &examined));
  CHECK(examined.userspace == 51);
  CHECK(examined.kernel_rx == 50);
  CHECK(examined.kernel_tx == 50);
  CHECK(examined.kernel == 50);
  CHECK(examined.refused == 0);
  Examined none;
  CHECK(Examine(Made(0).get(), &none));
  CHECK(none.userspace + none.refused == 0);
}

TEST_CASE("inventory: what can't be read is named, and the rest is read") {
  const UniqueFd fd = Made(40);
  Bytes bytes = Contents(fd.get());
  uint64_t first = 0;
  size_t spoilt = 0;
  for (size_t at = 0, n = 0; at < bytes.size(); ++n) {
    uint64_t entry[2];
    std::memcpy(entry, bytes.data() + at, sizeof entry);
    // A length of the frame beyond its end, then no frame at all.
    if (n % 2 == 0 && spoilt++ == 0) first = entry[0];
    if (n % 4 == 0) bytes[at + sizeof entry + 10] = 0xff;
    if (n % 4 == 2) bytes[at + sizeof entry] = 0;
    at += sizeof entry + entry[1];
  }
  Examined examined;
  REQUIRE(Examine(Sealed(bytes).get(), &examined));
  CHECK(examined.refused == spoilt);
  CHECK(examined.userspace + examined.kernel_rx + examined.kernel_tx + examined.kernel == 20);
  CHECK(examined.first_refused.size() == Examined::kMostRefused);
  CHECK(examined.first_refused[0].id == first);
  CHECK(examined.first_refused[1].fault == FrameFault::kBadValue);
}

TEST_CASE("inventory: what is none, or is cut, is refused, and one can be wiped") {
  const UniqueFd fd = Made(3);
  const Bytes bytes = Contents(fd.get());
  Examined examined;
  for (size_t size = 1; size < bytes.size(); size += 97) {
    Bytes cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    Examine(Sealed(cut).get(), &examined);
  }
  CHECK_FALSE(Examine(Sealed(Bytes(15)).get(), &examined));
  CHECK_FALSE(Examine(Sealed(bytes, F_SEAL_GROW).get(), &examined));
  REQUIRE(WipeInventory(fd.get()) == 0);
  CHECK(Contents(fd.get()) == Bytes(bytes.size()));
}
