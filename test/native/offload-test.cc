// SPDX-License-Identifier: MIT
// Which engine is chosen, over everything that it is chosen by.
// Without ThreadSanitizer: there is one thread.
#include "record/offload.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <set>
#include <string>

#include "record/tls.h"

using namespace ironsocket;

namespace {

constexpr OffloadMode kModes[] = {OffloadMode::kAuto, OffloadMode::kKernel,
                                  OffloadMode::kUserspace};
constexpr Direction kDirections[] = {Direction::kReceive, Direction::kSend};
constexpr uint16_t kLimits[] = {512, 1024, 2048, 4096, kMaxPlaintext};

// Of which a kernel lacks one combination, at the most.
KernelAbilities Kernel(bool rekey) {
  KernelAbilities kernel;
  kernel.rekey = rekey;
  return kernel;
}

void Lose(KernelAbilities& kernel, TlsVersion version, CipherType cipher, Direction direction) {
  kernel.keys_error[version == TlsVersion::kTls13][KernelAbilities::Index(cipher)]
                   [direction == Direction::kSend] = ENOENT;
}

// Calls `check` with every version, cipher and direction.
template <typename Check>
void ForEach(const Check& check) {
  for (TlsVersion version : KernelAbilities::kVersions) {
    for (CipherType cipher : KernelAbilities::kCiphers) {
      for (Direction direction : kDirections) {
        CAPTURE(static_cast<int>(version));
        CAPTURE(static_cast<int>(cipher));
        CAPTURE(static_cast<int>(direction));
        check(version, cipher, direction);
      }
    }
  }
}

}  // namespace

TEST_CASE("offload: a kernel that can all is taken, unless userspace is asked for") {
  const KernelAbilities kernel = Kernel(true);
  ForEach([&](TlsVersion version, CipherType cipher, Direction direction) {
    for (OffloadMode mode : kModes) {
      CHECK(ChooseEngine(kernel, mode, version, cipher, direction, kMaxPlaintext) ==
            (mode == OffloadMode::kUserspace ? NotOffloaded::kConfigured : NotOffloaded::kNone));
    }
  });
}

TEST_CASE("offload: without rekey `auto` keeps TLS 1.3 in userspace, `kernel` does not") {
  const KernelAbilities kernel = Kernel(false);
  ForEach([&](TlsVersion version, CipherType cipher, Direction direction) {
    const bool tls13 = version == TlsVersion::kTls13;
    CHECK(ChooseEngine(kernel, OffloadMode::kAuto, version, cipher, direction, kMaxPlaintext) ==
          (tls13 ? NotOffloaded::kNoRekey : NotOffloaded::kNone));
    CHECK(ChooseEngine(kernel, OffloadMode::kKernel, version, cipher, direction, kMaxPlaintext) ==
          NotOffloaded::kNone);
  });
}

TEST_CASE("offload: without the ULP nothing else is asked") {
  for (bool rekey : {false, true}) {
    KernelAbilities kernel = Kernel(rekey);
    kernel.ulp_error = ENOENT;
    ForEach([&](TlsVersion version, CipherType cipher, Direction direction) {
      Lose(kernel, version, cipher, direction);
      for (OffloadMode mode : kModes) {
        for (uint16_t limit : kLimits) {
          CHECK(ChooseEngine(kernel, mode, version, cipher, direction, limit) ==
                (mode == OffloadMode::kUserspace ? NotOffloaded::kConfigured
                                                 : NotOffloaded::kNoKernelTls));
        }
      }
    });
  }
}

TEST_CASE("offload: a cipher that is missing is missed in its version and direction alone") {
  ForEach([](TlsVersion version, CipherType cipher, Direction direction) {
    KernelAbilities kernel = Kernel(true);
    Lose(kernel, version, cipher, direction);
    ForEach([&](TlsVersion other_version, CipherType other_cipher, Direction other_direction) {
      const bool same =
          version == other_version && cipher == other_cipher && direction == other_direction;
      for (OffloadMode mode : {OffloadMode::kAuto, OffloadMode::kKernel}) {
        CHECK(ChooseEngine(kernel, mode, other_version, other_cipher, other_direction,
                           kMaxPlaintext) ==
              (same ? NotOffloaded::kNoCipher : NotOffloaded::kNone));
      }
    });
  });
}

TEST_CASE("offload: short records are sent by userspace, and received by either") {
  for (bool max_payload : {false, true}) {
    KernelAbilities kernel = Kernel(true);
    kernel.max_payload = max_payload;
    ForEach([&](TlsVersion version, CipherType cipher, Direction direction) {
      for (OffloadMode mode : {OffloadMode::kAuto, OffloadMode::kKernel}) {
        for (uint16_t limit : kLimits) {
          const bool bound = direction == Direction::kSend && limit < kMaxPlaintext;
          CHECK(ChooseEngine(kernel, mode, version, cipher, direction, limit) ==
                (bound ? NotOffloaded::kFragmentLimit : NotOffloaded::kNone));
        }
      }
    });
  }
}

TEST_CASE("offload: what can't be had at all is told before what this session asks for") {
  KernelAbilities kernel = Kernel(false);
  const auto why = [&] {
    return ChooseEngine(kernel, OffloadMode::kAuto, TlsVersion::kTls13, CipherType::kAes128Gcm,
                        Direction::kSend, 512);
  };
  CHECK(why() == NotOffloaded::kNoRekey);
  Lose(kernel, TlsVersion::kTls13, CipherType::kAes128Gcm, Direction::kSend);
  CHECK(why() == NotOffloaded::kNoCipher);
  kernel.ulp_error = ENOENT;
  CHECK(why() == NotOffloaded::kNoKernelTls);
}

TEST_CASE("offload: every reason has a text of its own, being offloaded has none") {
  CHECK(std::string(ReasonText(NotOffloaded::kNone)).empty());
  std::set<std::string> texts;
  int reasons = 0;
  for (auto reason = static_cast<int>(NotOffloaded::kConfigured);
       reason <= static_cast<int>(NotOffloaded::kRefused); ++reason, ++reasons) {
    const std::string text = ReasonText(static_cast<NotOffloaded>(reason));
    CAPTURE(text);
    CHECK_FALSE(text.empty());
    CHECK(text != "unknown");
    texts.insert(text);
  }
  CHECK(texts.size() == static_cast<size_t>(reasons));
}
