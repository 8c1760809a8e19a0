// SPDX-License-Identifier: MIT
// Memory that is mapped and nobody's at the moment: AddressSanitizer, which knows malloc() alone,
// reports whoever touches it. In any other build these do nothing.
#pragma once

#include <cstddef>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace ironsocket {

// `memory` and its end are at multiples of 8.
inline void Poison([[maybe_unused]] const volatile void* memory, [[maybe_unused]] size_t size) {
#ifdef __SANITIZE_ADDRESS__
  ASAN_POISON_MEMORY_REGION(memory, size);
#endif
}

inline void Unpoison([[maybe_unused]] const volatile void* memory, [[maybe_unused]] size_t size) {
#ifdef __SANITIZE_ADDRESS__
  ASAN_UNPOISON_MEMORY_REGION(memory, size);
#endif
}

}  // namespace ironsocket
