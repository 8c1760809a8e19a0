// SPDX-License-Identifier: MIT
#pragma once

#include "handoff/frame.h"

namespace ironsocket {

// Recipient: whether `client` and `backend` (-1: none) are the sockets that the frame is about, and
// the kernel has their keys exactly where the frame says so, the same keys at a number that can be.
// A socket of another frame, a pipe, the same descriptor twice: all of it is seen here. Changes
// nothing; any thread.
bool AreSocketsOf(const DecodedSession& frame, int client, int backend);

}  // namespace ironsocket
