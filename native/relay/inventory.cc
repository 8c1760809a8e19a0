// SPDX-License-Identifier: MIT
// All sessions of the thread written down, a slice in each round of the loop: the others don't wait
// for more than that. Those that come meanwhile are left out.
#include "handoff/inventory.h"

#include "relay/relay_thread.h"

namespace ironsocket {

void RelayThread::BeginInventory(std::function<void(UniqueFd)> done) {
  EndInventory();
  counting_ = std::make_unique<Counting>();
  counting_->next = all_;
  counting_->done = std::move(done);
}

void RelayThread::GoOnWithInventory() {
  Inventory& inventory = counting_->inventory;
  Session*& next = counting_->next;
  while (next && !inventory.slice_full()) {
    if (!next->moving) inventory.Add(*next, now_ms_);
    next = next->all_next;
  }
  if (!inventory.Flush()) next = nullptr;
  if (!next) EndInventory();
}

void RelayThread::EndInventory() {
  if (!counting_) return;
  counting_->done(counting_->inventory.Finish());
  counting_.reset();
}

}  // namespace ironsocket
