// SPDX-License-Identifier: MIT
// What became of a system call: nothing, or an errno together with the call that gave it, so that
// people are told "bind: address already in use" and not only the number.
#pragma once

#include <cerrno>

namespace ironsocket {

struct Status {
  int error = 0;                  // errno; 0: it worked
  const char* syscall = nullptr;  // static text

  bool ok() const { return error == 0; }
  // The failure of `syscall`, from errno.
  static Status FromErrno(const char* syscall) { return {errno, syscall}; }
};

}  // namespace ironsocket
