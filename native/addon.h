// SPDX-License-Identifier: MIT
// The addon: src/native.ts in C++. Every function only converts: it reads the one object of the
// call, has a plain C++ function do the work, and gives back the result or throws. Only the files
// addon*.cc include this, and so napi.h. All runs on the JavaScript thread of one Node environment,
// whose state is an Instance.
#pragma once

#include <napi.h>

#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "control/arguments.h"
#include "control/event_queue.h"
#include "control/watched_channel.h"
#include "control/watcher.h"
#include "engine.h"
#include "log/log.h"
#include "loop/clock.h"

namespace ironsocket {

using Napi::CallbackInfo;
using Napi::Env;
using Napi::Value;

struct EngineHost {
  EventQueue events;
  Watcher* watcher = nullptr;
  std::unique_ptr<Engine> engine;  // the last member: its threads push into `events`
};

// The state of one environment.
struct Instance {
  explicit Instance(uv_loop_t* loop) : watchers(loop) {}

  Watchers watchers;
  std::unique_ptr<Log> log;
  std::set<std::shared_ptr<EngineHost>> engines;
  std::vector<std::weak_ptr<WatchedChannel>> channels;

  // Ends every thread, and sends what still can be sent. The log goes last: engines write to it
  // until they are closed.
  void End() {
    constexpr int64_t kLastWordsMs = 100;
    for (const auto& host : engines) host->engine->Close();
    std::vector<std::shared_ptr<WatchedChannel>> waiting;
    for (const auto& each : channels) {
      const auto channel = each.lock();
      if (channel && channel->waiting()) waiting.push_back(channel);
    }
    // A peer that does not read takes no more than its share from the others.
    const int64_t until = NowMs() + kLastWordsMs;
    auto left = static_cast<int64_t>(waiting.size());
    for (const auto& channel : waiting) {
      const int64_t now = NowMs();
      channel->Finish(now + (until - now) / left--);
    }
    log.reset();
  }
};

inline Instance& InstanceOf(Env env) { return *env.GetInstanceData<Instance>(); }

// What a part of the addon exports.
struct Export {
  const char* name;
  Value (*function)(const CallbackInfo&);
};
std::span<const Export> ProcessExports();  // log, processes, channels
std::span<const Export> FileExports();     // descriptors, files, certificates, ticket keys
std::span<const Export> KernelExports();   // what the kernel can carry
std::span<const Export> EngineExports();
std::span<const Export> NetworkExports();

// ---- results

inline Value Undefined(const CallbackInfo& info) { return info.Env().Undefined(); }

// undefined, or throws the failure; `subject` is what the call was about, an address or a path.
Value Done(const CallbackInfo& info, const Status& status, const std::string& subject = "");
// The descriptor as a number, which JavaScript owns from now on, or throws the failure.
Value GiveFd(const CallbackInfo& info, const Status& status, UniqueFd fd,
             const std::string& subject = "");
// For functions that say by an invalid descriptor that errno is set.
inline Status MadeOr(const UniqueFd& fd, const char* syscall) {
  return fd.valid() ? Status{} : Status::FromErrno(syscall);
}

template <typename T, typename Convert>
Napi::Array ToArray(Env env, const std::vector<T>& items, Convert convert) {
  auto out = Napi::Array::New(env, items.size());
  for (size_t i = 0; i < items.size(); ++i) out.Set(static_cast<uint32_t>(i), convert(items[i]));
  return out;
}

// ---- calls into JavaScript

using Callback = std::shared_ptr<Napi::FunctionReference>;

// The function in the field `name`, kept from the garbage collector.
Callback Keep(Arguments* arguments, Env env, const char* name);
// Calls it from the loop. What it throws, null included, becomes an uncaught exception. A handle
// scope is open.
void Call(const Callback& callback, const std::vector<napi_value>& arguments);

}  // namespace ironsocket
