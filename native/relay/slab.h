// SPDX-License-Identifier: MIT
// Memory for the sessions of one thread: objects cut from mapped chunks, so that idle sessions cost
// what they are and nothing else. Chunks that are empty again go back to the kernel, all but one.
// Not thread safe.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

#include "loop/poison.h"

namespace ironsocket {

template <typename Object>
class Slab {
 public:
  Slab() = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  // Every object must have been destroyed.
  ~Slab() {
    while (Chunk* chunk = chunks_) {
      Unlink(chunk);
      Unmap(chunk);
    }
  }

  // nullptr when there is no memory.
  Object* Create() {
    Chunk* chunk = chunks_;
    if (!chunk || !chunk->free) chunk = AddChunk();
    if (!chunk) return nullptr;
    Free* place = chunk->free;
    chunk->free = place->next;
    ++chunk->used;
    ++used_;
    Unpoison(place, sizeof(Object));
    // A full chunk goes to the end, so that the first one always has room if any has.
    if (!chunk->free) MoveToEnd(chunk);
    return new (place) Object();
  }

  void Destroy(Object* object) {
    object->~Object();
    Chunk* chunk = reinterpret_cast<Chunk*>(reinterpret_cast<uintptr_t>(object) & ~(kChunk - 1));
    const bool was_full = !chunk->free;
    chunk->free = MakeFree(object, chunk->free);
    --chunk->used;
    --used_;
    if (was_full) MoveToFront(chunk);
    if (chunk->used == 0 && (chunk->next || chunk->previous)) {
      Unlink(chunk);
      Unmap(chunk);
    }
  }

  // Objects that exist.
  size_t used() const { return used_; }

 private:
  static constexpr size_t kChunk = 64 * 1024;  // and its alignment
  struct Free {
    Free* next;
  };
  struct alignas(64) Chunk {
    Chunk* previous;
    Chunk* next;
    Free* free;
    size_t used;
  };

  // Maps twice the size to get the alignment, and gives the rest back.
  Chunk* AddChunk() {
    void* raw =
        mmap(nullptr, 2 * kChunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) return nullptr;
    const uintptr_t start = reinterpret_cast<uintptr_t>(raw);
    const uintptr_t aligned = (start + kChunk - 1) & ~(kChunk - 1);
    if (aligned > start) munmap(raw, aligned - start);
    const uintptr_t end = start + 2 * kChunk;
    if (end > aligned + kChunk)
      munmap(reinterpret_cast<void*>(aligned + kChunk), end - aligned - kChunk);
    Chunk* chunk = new (reinterpret_cast<void*>(aligned)) Chunk{nullptr, nullptr, nullptr, 0};
    uint8_t* const first = reinterpret_cast<uint8_t*>(aligned) + sizeof(Chunk);
    for (size_t i = (kChunk - sizeof(Chunk)) / sizeof(Object); i-- > 0;) {
      chunk->free = MakeFree(first + i * sizeof(Object), chunk->free);
    }
    PushFront(chunk);
    return chunk;
  }

  static Free* MakeFree(void* place, Free* next) {
    Free* free = new (place) Free{next};
    Poison(free + 1, sizeof(Object) - sizeof(Free));
    return free;
  }
  static void Unmap(Chunk* chunk) {
    Unpoison(chunk, kChunk);
    munmap(chunk, kChunk);
  }

  void PushFront(Chunk* chunk) {
    chunk->previous = nullptr;
    chunk->next = chunks_;
    if (chunks_) chunks_->previous = chunk;
    chunks_ = chunk;
    if (!last_) last_ = chunk;
  }
  void Unlink(Chunk* chunk) {
    (chunk->previous ? chunk->previous->next : chunks_) = chunk->next;
    (chunk->next ? chunk->next->previous : last_) = chunk->previous;
  }
  void MoveToFront(Chunk* chunk) {
    Unlink(chunk);
    PushFront(chunk);
  }
  void MoveToEnd(Chunk* chunk) {
    Unlink(chunk);
    chunk->next = nullptr;
    chunk->previous = last_;
    (last_ ? last_->next : chunks_) = chunk;
    last_ = chunk;
  }

  Chunk* chunks_ = nullptr;
  Chunk* last_ = nullptr;
  size_t used_ = 0;
};

}  // namespace ironsocket
