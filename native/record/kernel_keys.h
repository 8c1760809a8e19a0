// SPDX-License-Identifier: MIT
// Keys into the kernel: the ULP "tls" on a socket and the structures of linux/tls.h
// (Documentation/networking/tls.rst). There is no way back from any of it: a ULP can't be detached,
// a key can't be cleared.
#pragma once

#include <cstdint>

#include "record/traffic_keys.h"

namespace ironsocket {

enum class Direction : uint8_t { kReceive, kSend };

// Attaches the ULP to a TCP socket; without keys it lets all bytes through unchanged. 0 or -errno:
// -ENOENT where the kernel has no TLS, -ENOTCONN when the socket is not ESTABLISHED (also once the
// peer has sent its FIN).
int AttachUlp(int fd);

// Gives the kernel the keys of one direction; `keys.sequence` is the number of the next record. The
// ULP must be attached. For sending, every byte so far must have been accepted by the socket; for
// receiving, the next unread byte must begin a record. Setting a direction again is a rekey
// (TLS 1.3, Linux 6.14). 0 or -errno, and then nothing has changed: -ENOENT without the algorithm,
// -EBUSY where the kernel can't rekey.
int InstallKeys(int fd, Direction direction, const TrafficKeys& keys);

// The number of the next record as the kernel counts. 0 or -errno.
int ReadSequence(int fd, Direction direction, const TrafficKeys& keys, uint64_t* sequence);

// Whether the kernel has exactly these keys for `direction`; then `*sequence` as above.
bool CompareKeys(int fd, Direction direction, const TrafficKeys& keys, uint64_t* sequence);

// Sets `keys.sequence` right, where small records were counted as parts of full ones; leaves it on
// failure.
void SampleSequence(int fd, Direction direction, TrafficKeys& keys);

}  // namespace ironsocket
