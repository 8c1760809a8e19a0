// SPDX-License-Identifier: MIT
// What the scan of our own output for the explicit nonce may be given: any bytes, in any pieces.
#include "handshake/extraction.h"

#include <algorithm>
#include <cstddef>
#include <memory>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  ironsocket::Extraction extraction;
  while (size > 0) {
    const size_t length = std::min<size_t>(bytes[0], size - 1);
    // A copy of its own: ASan notices a read past its end.
    const std::unique_ptr<uint8_t[]> piece(new uint8_t[length]);
    std::copy_n(bytes + 1, length, piece.get());
    extraction.SawOutput({piece.get(), length});
    bytes += 1 + length;
    size -= 1 + length;
  }
  return 0;
}
