// SPDX-License-Identifier: MIT
// A connection over the loopback with the kernel's TLS at one end and the userspace record engine
// at the other. Nothing here waits longer than kPatience.
#pragma once

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>

#include "net/unique_fd.h"
#include "record-oracle.h"
#include "record/kernel_keys.h"
#include "record/kernel_probe.h"

inline constexpr int kPatience = 10;  // seconds

// What the running kernel can, asked once.
const ironsocket::KernelAbilities& Kernel();

struct Pair {
  ironsocket::UniqueFd kernel;  // accepted; has the ULP, and no keys yet
  ironsocket::UniqueFd raw;
};
Pair Connect(bool with_ulp = true);

// One call of recvmsg with room for a record type.
struct Received {
  ssize_t result = 0;  // bytes or -errno
  int type = -1;       // -1: no type was told
  bool end = false;    // MSG_EOR
  Bytes content;
};
Received Receive(int fd, int flags = 0, size_t size = 20'000);
// All that fd has, until `length` bytes, the end or an error.
Bytes ReceiveAll(int fd, size_t length);

// Bytes or -errno.
ssize_t Send(int fd, const Bytes& bytes, int flags = 0);
ssize_t SendControl(int fd, ironsocket::ContentType type, const Bytes& content, int flags = 0);
// At most `limit` bytes, without waiting.
ssize_t SpliceFrom(int fd, int pipe, size_t limit = 1 << 20);
// One whole record as it is on the wire.
Bytes ReadWire(int fd);
// Sends and waits until it lies in the other end's receive queue.
void Deliver(const Pair& pair, const Bytes& wire);
// What poll says now.
short Poll(int fd, short events = POLLIN);

struct Pipe {
  ironsocket::UniqueFd out, in;
};
// Non-blocking; `slots` is rounded up to a power of two.
Pipe MakePipe(int slots);

Bytes SealOne(ironsocket::Aead& aead, ironsocket::TrafficKeys& keys, ironsocket::ContentType type,
              const Bytes& content);

// A line of /proc/net/tls_stat; -1 where the kernel has no such line.
long TlsStat(const std::string& name);
