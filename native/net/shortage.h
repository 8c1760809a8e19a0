// SPDX-License-Identifier: MIT
// Errors that say nothing about the peer: the machine is short of something for the moment. Who
// meets one waits and tries again.
#pragma once

#include <cerrno>

namespace ironsocket {

inline bool IsShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS ||
         error == ENOSPC;
}

}  // namespace ironsocket
