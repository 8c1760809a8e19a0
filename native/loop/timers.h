// SPDX-License-Identifier: MIT
// Deadlines of one thread. There are few distinct durations and many sessions, so each duration has
// a FIFO list: arming, moving and cancelling are O(1), and the next deadline is at the head of a
// list. Not thread safe.
#pragma once

#include <cstdint>
#include <vector>

namespace ironsocket {

struct TimerNode {
  TimerNode* previous = nullptr;
  TimerNode* next = nullptr;  // nullptr: not armed
  int64_t deadline_ms = 0;

  bool armed() const { return next != nullptr; }
  void Cancel() {
    if (!next) return;
    previous->next = next;
    next->previous = previous;
    previous = next = nullptr;
  }
};

class Timers {
 public:
  Timers() = default;
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;
  ~Timers() {
    for (List* list : lists_) delete list;
  }

  // (Re)arms `node` for `now_ms + duration_ms`. The node must outlive its arming.
  void Arm(TimerNode* node, uint32_t duration_ms, int64_t now_ms) {
    node->Cancel();
    node->deadline_ms = now_ms + duration_ms;
    TimerNode& head = ListFor(duration_ms)->head;
    node->previous = head.previous;
    node->next = &head;
    head.previous->next = node;
    head.previous = node;
  }

  // Milliseconds until the next deadline, for epoll_wait: -1 when there is none, 0 when one has
  // passed.
  int Timeout(int64_t now_ms) const {
    int64_t first = INT64_MAX;
    for (const List* list : lists_) {
      const TimerNode* node = list->head.next;
      if (node != &list->head && node->deadline_ms < first) first = node->deadline_ms;
    }
    if (first == INT64_MAX) return -1;
    const int64_t left = first - now_ms;
    return left < 0 ? 0 : static_cast<int>(left > 60'000 ? 60'000 : left);
  }

  // A node whose deadline has passed, disarmed; nullptr when there is none (left).
  TimerNode* Expired(int64_t now_ms) {
    for (List* list : lists_) {
      TimerNode* node = list->head.next;
      if (node != &list->head && node->deadline_ms <= now_ms) {
        node->Cancel();
        return node;
      }
    }
    return nullptr;
  }

 private:
  struct List {
    explicit List(uint32_t duration) : duration_ms(duration) { head.previous = head.next = &head; }
    const uint32_t duration_ms;
    TimerNode head;
  };

  List* ListFor(uint32_t duration_ms) {
    for (List* list : lists_) {
      if (list->duration_ms == duration_ms) return list;
    }
    lists_.push_back(new List(duration_ms));
    return lists_.back();
  }

  std::vector<List*> lists_;
};

}  // namespace ironsocket
