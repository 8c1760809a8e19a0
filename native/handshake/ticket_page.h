// SPDX-License-Identifier: MIT
// The page of ticket keys that processes share, and the lock-free way to read it while it changes.
// Used by ticket_keys.cc only.
//
// Key n lives in slot n % 4 and `generation` is the number of the current key:
//
//   slot   g-1 % 4     g % 4      g+1 % 4    g+2 % 4
//          previous    current    next       free
//
// A rotation fills the free slot, then publishes generation g+1. A writer that is killed in the
// middle therefore leaves nothing behind that a reader would look at; with a sequence lock proper
// it would leave an odd number, and readers that wait. A reader may be overtaken by two rotations
// while it copies; then it sees another generation after the copy, and copies again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ironsocket {

struct TicketKey {
  unsigned char name[16];
  unsigned char aes_key[32];
  unsigned char hmac_key[32];
};

using TicketKeyWords = std::array<uint64_t, sizeof(TicketKey) / sizeof(uint64_t)>;
static_assert(sizeof(TicketKeyWords) == sizeof(TicketKey));

struct TicketPage {
  uint64_t format;
  uint64_t generation;
  TicketKeyWords slots[4];
};

// The keys of one moment. They leave the memory together with the object.
struct TicketKeySet {
  TicketKey previous, current, next;

  TicketKeySet() = default;
  TicketKeySet(const TicketKeySet&) = delete;
  TicketKeySet& operator=(const TicketKeySet&) = delete;
  ~TicketKeySet();
};

// Any number of threads and processes; the page may be mapped read-only.
void ReadTicketKeys(const TicketPage& page, TicketKeySet* out);

// previous <- current <- next <- fresh. One writer at a time.
void RotateTicketKeys(const TicketKeyWords& fresh, TicketPage* page);

// As a reader loads them: the words of a page that another process writes.
uint64_t LoadTicketWord(const uint64_t& word);

}  // namespace ironsocket
