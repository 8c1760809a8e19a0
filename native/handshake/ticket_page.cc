// SPDX-License-Identifier: MIT
#include "handshake/ticket_page.h"

#include <openssl/crypto.h>

#include <atomic>
#include <cstring>

namespace ironsocket {
namespace {

// A reader's mapping is read-only; a load that is built from a compare-and-swap would fault on it.
static_assert(std::atomic_ref<uint64_t>::is_always_lock_free);

// Release and acquire on every word instead of one fence: ThreadSanitizer does not know fences, and
// on x86 all of them are plain moves.
void Store(uint64_t& word, uint64_t value) {
  std::atomic_ref<uint64_t>(word).store(value, std::memory_order_release);
}

void CopyKey(const TicketKeyWords& slot, TicketKey* out) {
  TicketKeyWords words;
  for (size_t i = 0; i < words.size(); i++) words[i] = LoadTicketWord(slot[i]);
  std::memcpy(out, &words, sizeof(words));
  OPENSSL_cleanse(&words, sizeof(words));
}

}  // namespace

TicketKeySet::~TicketKeySet() { OPENSSL_cleanse(this, sizeof(*this)); }

uint64_t LoadTicketWord(const uint64_t& word) {
  return std::atomic_ref<uint64_t>(const_cast<uint64_t&>(word)).load(std::memory_order_acquire);
}

void ReadTicketKeys(const TicketPage& page, TicketKeySet* out) {
  uint64_t before = LoadTicketWord(page.generation);
  for (;;) {
    CopyKey(page.slots[(before - 1) % 4], &out->previous);
    CopyKey(page.slots[before % 4], &out->current);
    CopyKey(page.slots[(before + 1) % 4], &out->next);
    uint64_t after = LoadTicketWord(page.generation);
    if (after == before) return;
    before = after;
  }
}

void RotateTicketKeys(const TicketKeyWords& fresh, TicketPage* page) {
  uint64_t generation = LoadTicketWord(page->generation);
  TicketKeyWords& slot = page->slots[(generation + 2) % 4];
  for (size_t i = 0; i < slot.size(); i++) Store(slot[i], fresh[i]);
  Store(page->generation, generation + 1);
}

}  // namespace ironsocket
