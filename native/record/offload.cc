// SPDX-License-Identifier: MIT
#include "record/offload.h"

namespace ironsocket {

const char* ReasonText(NotOffloaded reason) {
  switch (reason) {
    case NotOffloaded::kNone:
      return "";
    case NotOffloaded::kConfigured:
      return "offload is userspace";
    case NotOffloaded::kNotTcp:
      return "the client's socket is not TCP";
    case NotOffloaded::kNoKernelTls:
      return "the kernel has no TLS";
    case NotOffloaded::kNoCipher:
      return "the kernel does not take this cipher";
    case NotOffloaded::kNoRekey:
      return "the kernel can't rekey TLS 1.3";
    case NotOffloaded::kFragmentLimit:
      return "the client asked for short records";
    case NotOffloaded::kFewBytes:
      return "offload_after is not reached";
    case NotOffloaded::kNextBoundary:
      return "no record boundary was reached";
    case NotOffloaded::kRefused:
      return "the kernel refused this session";
  }
  return "unknown";
}

NotOffloaded ChooseEngine(const KernelAbilities& kernel, OffloadMode mode, TlsVersion version,
                          CipherType cipher, Direction direction, uint16_t max_content) {
  if (mode == OffloadMode::kUserspace) return NotOffloaded::kConfigured;
  if (kernel.ulp_error != 0) return NotOffloaded::kNoKernelTls;
  if (kernel.Error(version, cipher, direction) != 0) return NotOffloaded::kNoCipher;
  if (mode == OffloadMode::kAuto && version == TlsVersion::kTls13 && !kernel.rekey) {
    return NotOffloaded::kNoRekey;
  }
  // Before TLS_TX_MAX_PAYLOAD_LEN the kernel cuts records by how it is written to.
  if (direction == Direction::kSend && max_content < kMaxPlaintext) {
    return NotOffloaded::kFragmentLimit;
  }
  return NotOffloaded::kNone;
}

}  // namespace ironsocket
