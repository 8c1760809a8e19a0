// SPDX-License-Identifier: MIT
#include "loop/buffer_pool.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "loop/poison.h"

namespace ironsocket {
namespace {

uint8_t* MapPages(size_t size) {
  void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return pages == MAP_FAILED ? nullptr : static_cast<uint8_t*>(pages);
}

void UnmapPages(void* pages, size_t size) {
  Unpoison(pages, size);
  munmap(pages, size);
}

}  // namespace

BufferPool::~BufferPool() {
  for (size_t i = kSmall; i < kClasses; ++i) {
    while (Free* block = free_[i]) {
      free_[i] = block->next;
      UnmapPages(block, kSizes[i]);
    }
  }
  while (Free* slab = slabs_) {
    slabs_ = slab->next;
    UnmapPages(slab, kSlab);
  }
}

void BufferPool::AddFree(uint8_t* place, size_t size_class) {
  free_[size_class] = new (place) Free{free_[size_class]};
  ++free_count_[size_class];
  Poison(place + sizeof(Free), kSizes[size_class] - sizeof(Free));
}

bool BufferPool::Refill(size_t size_class) {
  const size_t size = kSizes[size_class];
  if (size_class >= kSmall) {
    uint8_t* block = MapPages(size);
    if (!block) return false;
    AddFree(block, size_class);
    return true;
  }
  uint8_t* slab = MapPages(kSlab);
  if (!slab) return false;
  slabs_ = new (slab) Free{slabs_};
  // The first block's place holds the slab list.
  for (size_t offset = size; offset + size <= kSlab; offset += size) {
    AddFree(slab + offset, size_class);
  }
  return true;
}

uint8_t* BufferPool::Take(size_t* size_class) {
  // When memory is short a larger block that is at hand will do.
  for (size_t i = *size_class; i < kClasses; ++i) {
    if (!free_[i] && (i != *size_class || !Refill(i))) continue;
    *size_class = i;
    Free* block = free_[i];
    free_[i] = block->next;
    --free_count_[i];
    ++held_;
    Unpoison(block, kSizes[i]);
    return reinterpret_cast<uint8_t*>(block);
  }
  return nullptr;
}

bool BufferPool::Secure(size_t count) {
  while (free_count_[kClasses - 1] < count) {
    if (!Refill(kClasses - 1)) return false;
  }
  return true;
}

bool BufferPool::Reserve(Block* block, size_t bytes) {
  if (block->empty() && block->data) block->begin = block->end = 0;
  if (block->end + bytes <= block->capacity) return true;
  const size_t needed = block->size() + bytes;
  size_t size_class = 0;
  while (size_class < kClasses && kSizes[size_class] < needed) ++size_class;
  if (size_class == kClasses) return false;
  if (block->data && needed <= block->capacity) {
    std::memmove(block->data, block->data + block->begin, block->size());
    block->end -= block->begin;
    block->begin = 0;
    return true;
  }
  uint8_t* data = Take(&size_class);
  if (!data) return false;
  Block larger{data, static_cast<uint32_t>(kSizes[size_class]), 0,
               static_cast<uint32_t>(block->size())};
  if (block->size() > 0) std::memcpy(data, block->data + block->begin, block->size());
  Release(block);
  *block = larger;
  return true;
}

bool BufferPool::Append(Block* block, std::span<const uint8_t> bytes) {
  if (bytes.empty()) return true;
  if (!Reserve(block, bytes.size())) return false;
  std::memcpy(block->data + block->end, bytes.data(), bytes.size());
  block->end += static_cast<uint32_t>(bytes.size());
  return true;
}

void BufferPool::Release(Block* block) {
  if (!block->data) return;
  size_t size_class = 0;
  while (kSizes[size_class] < block->capacity) ++size_class;
  if (size_class >= kSmall && free_count_[size_class] >= kKept[size_class]) {
    munmap(block->data, kSizes[size_class]);
  } else {
    AddFree(block->data, size_class);
  }
  --held_;
  *block = Block{};
}

}  // namespace ironsocket
