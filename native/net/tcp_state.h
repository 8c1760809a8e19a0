// SPDX-License-Identifier: MIT
// What TCP itself knows of a connection (tcp(7), TCP_INFO), under whatever stands on top of it.
#pragma once

#include <cstdint>

namespace ironsocket {

// Bytes that TCP was given to send since the connection began, sent or not. False: not a TCP
// socket.
bool ReadBytesQueued(int fd, uint64_t* bytes);

// Whether the connection is over: reset, or both sides' FINs are acknowledged. What is not TCP is
// not.
bool IsClosed(int fd);

}  // namespace ironsocket
