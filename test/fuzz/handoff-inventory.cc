// SPDX-License-Identifier: MIT
// The inventory of a worker of another version. First byte: as it is; or cut into entries with
// right lengths, whose frames have a right magic, length and checksum. Each frame is counted once,
// and what was wiped is all zeros.
#include <algorithm>
#include <cstring>

#include "../native/frame-edit.h"
#include "descriptors.h"
#include "handoff/inventory.h"

using namespace ironsocket;

namespace {

size_t Total(const Examined& examined) {
  return examined.kernel + examined.userspace + examined.kernel_tx + examined.kernel_rx +
         examined.refused;
}

// Frames of as many bytes as the two before them say.
std::vector<uint8_t> Entries(std::span<const uint8_t> input, size_t* count) {
  std::vector<uint8_t> out;
  while (input.size() >= 2) {
    const size_t length = std::min<size_t>(input[0] << 8 | input[1], input.size() - 2);
    FrameEdit::Bytes frame(input.begin() + 2, input.begin() + 2 + static_cast<ptrdiff_t>(length));
    FrameEdit::Seal(&frame);
    uint64_t entry[] = {++*count, frame.size()};
    const auto* head = reinterpret_cast<const uint8_t*>(entry);
    out.insert(out.end(), head, head + sizeof entry);
    out.insert(out.end(), frame.begin(), frame.end());
    input = input.subspan(2 + length);
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 1) return 0;
  std::vector<uint8_t> inventory(bytes + 1, bytes + size);
  size_t count = 0;
  const bool made = bytes[0] & 1;
  if (made) inventory = Entries({bytes + 1, size - 1}, &count);
  const int before = NextFd();
  {
    const bool sealed = (bytes[0] & 2) == 0;
    const UniqueFd fd = Memory(inventory, sealed ? F_SEAL_SHRINK | F_SEAL_GROW : F_SEAL_GROW);
    Examined examined;
    const bool good = Examine(fd.get(), &examined);
    Require(sealed || !good);
    if (made && sealed) Require(good && Total(examined) == count);
    Require(examined.first_refused.size() == std::min(examined.refused, Examined::kMostRefused));
    for (const Examined::Refused& refused : examined.first_refused) {
      Require(refused.fault != FrameFault::kNone && FaultText(refused.fault)[0] != '\0');
    }
    Require((WipeInventory(fd.get()) == 0) == sealed);
    std::vector<uint8_t> left(inventory.size());
    Require(pread(fd.get(), left.data(), left.size(), 0) == static_cast<ssize_t>(left.size()));
    if (sealed) Require(std::all_of(left.begin(), left.end(), [](uint8_t b) { return b == 0; }));
  }
  Require(NextFd() == before);
  return 0;
}
