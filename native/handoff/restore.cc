// SPDX-License-Identifier: MIT
#include <algorithm>
#include <mutex>
#include <set>
#include <tuple>

#include "handoff/frame.h"
#include "loop/clock.h"

namespace ironsocket {
namespace {

std::unique_ptr<Listener> MakeListener(const ListenerValues& values) {
  auto listener = std::make_unique<Listener>();
  listener->id = values.id;
  listener->name = values.name;
  listener->backend = values.backend;
  listener->connect_ms = values.connect_ms;
  listener->idle_ms = values.idle_ms;
  listener->half_closed_ms = values.half_closed_ms;
  listener->reset_on_truncation = values.reset_on_truncation;
  listener->offload = values.offload;
  return listener;
}

// Those that are alive, by what they are: there are as many as configurations that sessions began
// under.
std::shared_ptr<Listener> ListenerOf(const ListenerValues& values) {
  struct Entry {
    ListenerValues values;
    std::weak_ptr<Listener> listener;
  };
  static std::mutex mutex;
  static std::vector<Entry>& entries = *new std::vector<Entry>;  // outlives every thread
  std::lock_guard lock(mutex);
  for (const Entry& entry : entries) {
    if (!(entry.values == values)) continue;
    if (auto listener = entry.listener.lock()) return listener;
  }
  std::erase_if(entries, [](const Entry& entry) { return entry.listener.expired(); });
  std::shared_ptr<Listener> listener = MakeListener(values);
  entries.push_back({values, listener});
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

bool ListenerValues::operator==(const ListenerValues& other) const {
  const auto tie = [](const ListenerValues& values) {
    const auto& [id, connect_ms, idle_ms, half_closed_ms, offload, reset_on_truncation, name,
                 backend] = values;
    const auto& [mode, after] = offload;
    return std::tie(id, connect_ms, idle_ms, half_closed_ms, mode, after, reset_on_truncation, name,
                    backend);
  };
  return tie(*this) == tie(other);
}

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
  to->group = GroupName(from.group);
  to->accepted_ms = now_ms - from.age_ms;
  to->timer.deadline_ms = from.deadline_left_ms < 0 ? 0 : now_ms + from.deadline_left_ms;
  return true;
}

}  // namespace ironsocket
