// SPDX-License-Identifier: MIT
// Memory for bytes in flight. A session holds a block only while it has bytes that could not go on;
// an idle one holds none. One pool per thread, no lock, no malloc: small blocks are cut from mapped
// pages, large ones are mapped and kept up to a bound. Not thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ironsocket {

// Bytes [begin, end) of a block of the pool. Owned by a session, given back with
// BufferPool::Release.
struct Block {
  uint8_t* data = nullptr;
  uint32_t capacity = 0;
  uint32_t begin = 0;
  uint32_t end = 0;

  bool empty() const { return begin == end; }
  size_t size() const { return end - begin; }
  std::span<uint8_t> bytes() const { return {data + begin, size()}; }
};

class BufferPool {
 public:
  // The largest block: a batch of 16 full records and some control records.
  static constexpr size_t kLargest = 288 * 1024;

  BufferPool() = default;
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // Makes sure that `count` largest blocks are at hand, so that the next `count` Appends to empty
  // blocks can't fail. False when memory is short: nothing more should be read until it is there.
  bool Secure(size_t count);

  // Appends bytes, moving to a larger block where needed. False when there is no memory or the
  // result would exceed kLargest; the block is then as before.
  bool Append(Block* block, std::span<const uint8_t> bytes);

  // Makes room for `bytes` more behind `end`. As Append.
  bool Reserve(Block* block, size_t bytes);

  // Gives the block back. Safe on an empty one. The bytes are not wiped: they are ciphertext or
  // payload, never keys.
  void Release(Block* block);

  // Blocks that are not released yet.
  size_t held() const { return held_; }

 private:
  static constexpr size_t kClasses = 7;
  static constexpr size_t kSizes[kClasses] = {64, 256, 1024, 4096, 20 * 1024, 72 * 1024, kLargest};
  static constexpr size_t kSmall = 4;  // classes below this index are cut from slabs
  static constexpr size_t kSlab = 64 * 1024;
  // How many free large blocks are kept, by class; what is more goes back to the kernel.
  static constexpr size_t kKept[kClasses] = {0, 0, 0, 0, 64, 16, 6};

  struct Free {
    Free* next;
  };

  // A free block of `*size_class`, or of a larger one, which is then told.
  uint8_t* Take(size_t* size_class);
  bool Refill(size_t size_class);
  void AddFree(uint8_t* place, size_t size_class);

  Free* free_[kClasses] = {};
  size_t free_count_[kClasses] = {};
  size_t held_ = 0;
  Free* slabs_ = nullptr;  // first words of each slab, for the destructor
};

}  // namespace ironsocket
