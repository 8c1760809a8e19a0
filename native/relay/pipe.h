// SPDX-License-Identifier: MIT
// The pipe that a relay thread splices through. It is empty whenever a turn ends: what the far side
// did not take is read out into the session's own block. So one is enough for all sessions, and no
// bytes are in a place that can't be handed on.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include "loop/clock.h"
#include "net/unique_fd.h"

namespace ironsocket {

class Pipe {
 public:
  // Opens it where it is not. False: no descriptors, or only a short pipe for a user who has many
  // (pipe(7), /proc/sys/fs/pipe-user-pages-soft); it is then not tried again for a while.
  bool Open() {
    if (read_.valid()) return true;
    const int64_t now = NowMs();
    if (now < retry_ms_) return false;
    retry_ms_ = now + kRetryMs;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
    read_ = UniqueFd(ends[0]);
    write_ = UniqueFd(ends[1]);
    fcntl(write(), F_SETPIPE_SZ, kBytes);  // where it may not grow, 16 pages are enough too
    const int bytes = fcntl(write(), F_GETPIPE_SZ);
    slots_ = bytes > 0 ? static_cast<size_t>(bytes / sysconf(_SC_PAGESIZE)) : 0;
    if (slots_ < kLeastSlots) {
      Close();
      return false;
    }
    retry_ms_ = 0;
    return true;
  }
  // With all that is in it.
  void Close() {
    read_.Reset();
    write_.Reset();
    slots_ = 0;
  }

  int read() const { return read_.get(); }
  int write() const { return write_.get(); }
  // What fills up first: each holds a page or less.
  size_t slots() const { return slots_; }

 private:
  static constexpr int kBytes = 256 * 1024;
  static constexpr size_t kLeastSlots = 16;
  static constexpr int64_t kRetryMs = 1000;

  UniqueFd read_;
  UniqueFd write_;
  size_t slots_ = 0;
  int64_t retry_ms_ = 0;
};

}  // namespace ironsocket
