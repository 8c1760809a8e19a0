// SPDX-License-Identifier: MIT
#include <algorithm>
#include <mutex>
#include <set>

#include "handoff/frame.h"
#include "loop/clock.h"

namespace ironsocket {
namespace {

// Those that are alive, by what they are: there are as many as configurations that sessions began
// under.
std::shared_ptr<Listener> ListenerOf(const ListenerValues& values) {
  using Entry = std::weak_ptr<Listener>;
  static std::mutex mutex;
  static std::vector<Entry>& entries = *new std::vector<Entry>;  // outlives every thread
  std::lock_guard lock(mutex);
  for (const Entry& entry : entries) {
    auto listener = entry.lock();
    if (listener && *listener == values) return listener;
  }
  std::erase_if(entries, [](const Entry& entry) { return entry.expired(); });
  auto listener = std::make_shared<Listener>();
  static_cast<ListenerValues&>(*listener) = values;
  entries.push_back(listener);
  return listener;
}

// Session::group points to static text, and OpenSSL's is not at hand: each name is kept for ever.
// There are few; a frame that makes up more of them gets none.
const char* GroupName(const std::string& name) {
  constexpr size_t kMost = 64;
  static std::mutex mutex;
  static std::set<std::string>& names = *new std::set<std::string>;  // outlives every thread
  std::lock_guard lock(mutex);
  const auto found = names.find(name);
  if (found != names.end()) return found->c_str();
  return names.size() < kMost ? names.insert(name).first->c_str() : "";
}

}  // namespace

bool Restore(DecodedSession&& from, BufferPool& pool, Session* to) {
  Block sni, partial, to_backend, unsent;
  if (!pool.Append(&sni, from.sni) || !pool.Append(&partial, from.partial) ||
      !pool.Append(&to_backend, from.to_backend) || !pool.Append(&unsent, from.unsent)) {
    for (Block* block : {&sni, &partial, &to_backend, &unsent}) pool.Release(block);
    return false;
  }
  const int64_t now_ms = NowMs();
  *to = std::move(from.session);
  to->sni = sni;
  to->rx.partial = partial;
  to->to_backend = to_backend;
  to->tx.unsent = unsent;
  to->rx.keys.id = NewKeyId();
  to->tx.keys.id = NewKeyId();
  to->listener = ListenerOf(from.listener);
  to->group = GroupName(from.group.c_str());  // as far as it is shown
  to->accepted_ms = now_ms - from.age_ms;
  to->timer.deadline_ms = from.deadline_left_ms < 0 ? 0 : now_ms + from.deadline_left_ms;
  return true;
}

}  // namespace ironsocket
