// SPDX-License-Identifier: MIT
// The sessions of a relay thread as they are now, for another version to try its reader on before
// an upgrade: no descriptors, nothing moves. In a memfd, each session with its id and the length of
// its frame (docs/handoff.md, section 6). It holds keys: whoever asked for it wipes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "handoff/frame.h"
#include "net/unique_fd.h"

namespace ironsocket {

// One relay thread writes, then whoever made it takes the memfd.
class Inventory {
 public:
  // Sessions and bytes in one go, between which a thread does its other work.
  static constexpr size_t kSliceSessions = 64;
  static constexpr size_t kSliceBytes = 512 * 1024;
  // What a thread writes at most: memory that the service must have for it.
  static constexpr size_t kMostBytes = 64 * 1024 * 1024;

  // Between two turns of the session, as for EncodeSession().
  void Add(const Session& session, int64_t now_ms);
  bool slice_full() const { return sessions_ >= kSliceSessions || slice_.size() >= kSliceBytes; }
  // Writes what was added. False: there is no memory for more, or no room by kMostBytes.
  bool Flush();
  // The memfd, sealed against a change of size; invalid where there was no memory for one.
  UniqueFd Finish();

 private:
  UniqueFd fd_;
  FrameBytes slice_;
  size_t sessions_ = 0;
  size_t written_ = 0;
};

// What a version makes of the sessions in an inventory.
struct Examined {
  static constexpr size_t kMostRefused = 20;
  struct Refused {
    uint64_t id = 0;
    FrameFault fault = FrameFault::kNone;
  };

  size_t kernel = 0;  // both directions
  size_t userspace = 0;
  size_t kernel_tx = 0;
  size_t kernel_rx = 0;
  size_t refused = 0;
  std::vector<Refused> first_refused;
};

// Adds to `*out`. `fd` is borrowed. False: it is no inventory, or not to its end.
bool Examine(int fd, Examined* out);

// Overwrites all of a memfd that is sealed against a change of size. `fd` is borrowed. 0 or -errno.
int WipeInventory(int fd);

}  // namespace ironsocket
