// SPDX-License-Identifier: MIT
// What the running kernel can carry, found out by trying on connections over the loopback. Version
// numbers say little: vendors take patches back and leave options out.
#pragma once

#include <cstddef>
#include <cstdint>

#include "record/kernel_keys.h"
#include "record/tls.h"

namespace ironsocket {

struct KernelAbilities {
  static constexpr CipherType kCiphers[] = {CipherType::kAes128Gcm, CipherType::kAes256Gcm,
                                            CipherType::kAes128Ccm, CipherType::kChacha20Poly1305};
  static constexpr TlsVersion kVersions[] = {TlsVersion::kTls12, TlsVersion::kTls13};

  // 0, or the errno with which the ULP can't be attached: ENOENT says that the kernel has no TLS,
  // or that its module is not loaded and may not be by us.
  int ulp_error = 0;
  // By version, cipher (in the order above) and direction: 0, or the errno of setsockopt; ENOENT
  // without the algorithm. All are ulp_error where that is not 0.
  int keys_error[2][4][2] = {};
  bool rekey = false;         // TLS 1.3 keys can be replaced (Linux 6.14)
  bool partial_poll = false;  // poll says POLLIN for a part of a record (before 6.12)
  bool splice_whole = false;  // a splice into a pipe that is too full for the record loses nothing
                              // (6.1.189, 6.12.117)
  bool max_payload = false;   // TLS_TX_MAX_PAYLOAD_LEN

  // Index of `cipher` in keys_error.
  static size_t Index(CipherType cipher);
  // 0 or the errno that says why not.
  int Error(TlsVersion version, CipherType cipher, Direction direction) const;
};

// Takes some milliseconds, and longer where the kernel starts modprobe for what it has not got.
// Where no connection over the loopback can be made, ulp_error has that errno. What can't be found
// out is told as the worse of the two. Thread safe.
KernelAbilities ProbeKernel();

}  // namespace ironsocket
