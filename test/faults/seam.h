// SPDX-License-Identifier: MIT
// What the wrapped calls ask: is this the one that is to fail, and how.
#pragma once

#include <sys/epoll.h>

#include <cstddef>
#include <cstdint>

namespace faults {

// In the order of `calls` in rule.ts.
enum Call : uint64_t {
  kRecv = 1,
  kRecvmsg,
  kReadv,
  kRead,
  kSend,
  kSendmsg,
  kWrite,
  kSplice,
  kAccept,
  kSocket,
  kSocketpair,
  kConnect,
  kEpollCreate,
  kEpollCtl,
  kEpollWait,
  kEventfd,
  kPipe,
  kSetsockopt,
  kGetsockopt,
  kGetsockname,
  kShutdown,
  kMmap,
  kMemfd,
  kFtruncate,
  kPwrite,
  kPread,
  kFcntl,
  kIoctl,
  kPoll,
  kThread,
  kFork,
  kMalloc,
  kFallocate,
};

struct Fault {
  bool hit = false;
  int error = 0;     // 0: a short count
  size_t bytes = 0;  // of a short count
};

// Counts a call and says whether it is to fail. `fd` and `detail`: what it is about, as far as it
// is about something. `caller`: its return address.
Fault Meet(Call call, int fd, uint64_t detail, const void* caller);

// What epoll watches: `event` null where it has left. Announce has it told once more, as when
// something happens to `fd` right after a call that said EAGAIN or brought little (epoll(7): both
// mean that there is nothing left).
void Remember(int epoll, int fd, const epoll_event* event);
void Announce(int fd);

}  // namespace faults
