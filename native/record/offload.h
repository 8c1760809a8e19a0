// SPDX-License-Identifier: MIT
// Which engine carries a direction of a session, and why: policy (`offload`) and what the kernel
// can do. docs/design.md section 3.
#pragma once

#include <cstdint>

#include "record/kernel_probe.h"

namespace ironsocket {

enum class OffloadMode : uint8_t {
  kAuto,       // the kernel where it can do all that the session may ask of it
  kKernel,     // the kernel where it takes the keys
  kUserspace,  // never the kernel
};

struct OffloadPolicy {
  OffloadMode mode = OffloadMode::kAuto;
  uint64_t after = 0;  // bytes of payload that a direction carries before the kernel takes it

  bool operator==(const OffloadPolicy&) const = default;
};

// Why a direction is not (yet) carried by the kernel.
enum class NotOffloaded : uint8_t {
  kNone,  // it is
  kConfigured,
  kNotTcp,
  kNoKernelTls,
  kNoCipher,
  kNoRekey,
  kFragmentLimit,
  kFewBytes,      // `after` is not reached
  kNextBoundary,  // the next record boundary is waited for
  kRefused,       // the kernel refused this session's keys or its ULP
};
// For the log: "the kernel can't rekey TLS 1.3"; "" for kNone.
const char* ReasonText(NotOffloaded reason);

// kNone where policy and kernel want the kernel to carry `direction` of a session over TCP.
NotOffloaded ChooseEngine(const KernelAbilities& kernel, OffloadMode mode, TlsVersion version,
                          CipherType cipher, Direction direction, uint16_t max_content);

}  // namespace ironsocket
