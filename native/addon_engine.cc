// SPDX-License-Identifier: MIT
// The addon's engine: plans down, events up, counters by snapshot.
#include <fcntl.h>

#include <new>

#include "addon.h"
#include "connection_id.h"
#include "counter_page.h"
#include "handoff/inventory.h"
#include "handoff/version.h"
#include "loop/memory_wait.h"

namespace ironsocket {
namespace {

// Number.MAX_SAFE_INTEGER
constexpr int64_t kMostExact = (int64_t{1} << 53) - 1;

// Which directions the kernel may carry.
struct KernelDirections {
  bool tx;
  bool rx;
};

ListenerPlan ToListenerPlan(Env env, Arguments arguments) {
  ListenerPlan plan;
  plan.id = arguments.Unsigned("id");
  plan.name = arguments.Text("name");
  plan.fd = arguments.Fd("fd");
  for (napi_value item : arguments.Items("certificates")) {
    Arguments certificate(env, item);
    plan.certificates.push_back({certificate.Fd("chainFd"), certificate.Fd("keyFd")});
  }
  plan.min_version = arguments.Text("minVersion");
  plan.max_version = arguments.Text("maxVersion");
  plan.ciphers = arguments.Texts("ciphers");
  plan.alpn = arguments.Texts("alpn");
  plan.backend = arguments.Text("backend");
  plan.backend_addresses = arguments.Texts("backendAddresses");
  plan.proxy_protocol = arguments.Choice<ProxyProtocol>(
      "proxyProtocol",
      {{"none", ProxyProtocol::kNone}, {"v1", ProxyProtocol::kV1}, {"v2", ProxyProtocol::kV2}});
  plan.handshake_ms = arguments.Unsigned("handshakeMs");
  plan.connect_ms = arguments.Unsigned("connectMs");
  plan.idle_ms = arguments.Unsigned("idleMs");
  plan.half_closed_ms = arguments.Unsigned("halfClosedMs");
  plan.reset_on_truncation =
      arguments.Choice<bool>("onTruncation", {{"fin", false}, {"reset", true}});
  plan.offload.mode =
      arguments.Choice<OffloadMode>("offload", {{"auto", OffloadMode::kAuto},
                                                {"kernel", OffloadMode::kKernel},
                                                {"userspace", OffloadMode::kUserspace}});
  plan.offload.after = static_cast<uint64_t>(arguments.Integer("offloadAfter", 0, kMostExact));
  return plan;
}

// Reads the plan and gives it to `apply`, Engine::Configure or Engine::Check.
Value WithPlan(const CallbackInfo& info, Engine* engine,
               bool (Engine::*apply)(const Plan&, std::string*)) {
  Arguments arguments(info.Env(), info[0]);
  Plan plan;
  for (napi_value item : arguments.Items("listeners")) {
    plan.listeners.push_back(ToListenerPlan(info.Env(), Arguments(info.Env(), item)));
  }
  plan.max_connections = arguments.Unsigned("maxConnections");
  plan.ticket_keys_fd = arguments.Fd("ticketKeysFd", -1);
  if (arguments.Has("expectedConnections")) {
    plan.expected_connections = arguments.Unsigned("expectedConnections");
  }
  std::string error;
  if (!info.Env().IsExceptionPending() && arguments.ok() && !(engine->*apply)(plan, &error)) {
    ThrowCoded(info.Env(), "ERR_NATIVE_PLAN", error);
  }
  return Undefined(info);
}

Value SetBackend(const CallbackInfo& info, Engine* engine) {
  Arguments arguments(info.Env(), info[0]);
  uint32_t listener = arguments.Unsigned("listener");
  std::vector<std::string> addresses = arguments.Texts("addresses");
  if (!arguments.ok()) return Undefined(info);
  return Napi::Boolean::New(info.Env(), engine->SetBackend(listener, addresses));
}

Value Snapshot(const CallbackInfo& info, Engine* engine) {
  bool fits = info[0].IsTypedArray() &&
              info[0].As<Napi::TypedArray>().TypedArrayType() == napi_biguint64_array;
  if (!fits) {
    ThrowCoded(info.Env(), "ERR_NATIVE_ARGUMENT", "the argument must be a BigUint64Array");
    return Undefined(info);
  }
  auto out = info[0].As<Napi::BigUint64Array>();
  engine->Snapshot(out.Data(), out.ElementLength());
  return Undefined(info);
}

Value ToValue(Env env, const EngineEvent& event) {
  auto out = Napi::Object::New(env);
  switch (event.type) {
    case EngineEvent::Type::kDrained:
      out.Set("type", "drained");
      break;
    case EngineEvent::Type::kInventory:
      out.Set("type", "inventory");
      break;
    case EngineEvent::Type::kBackendFailed:
      out.Set("type", "backend-failed");
      out.Set("listener", event.listener);
      break;
  }
  return out;
}

Napi::Object ToValue(Env env, const PauseSummary& pauses) {
  auto out = Napi::Object::New(env);
  out.Set("longestUs", static_cast<double>(pauses.longest_us));
  out.Set("p99Us", static_cast<double>(pauses.p99_us));
  return out;
}

void CloseEngine(Instance* instance, const std::shared_ptr<EngineHost>& host) {
  host->engine->Close();
  if (host->watcher != nullptr) std::exchange(host->watcher, nullptr)->Close();
  instance->engines.erase(host);
}

// `fds` become ours, also where the call fails.
std::vector<UniqueFd> TakenFds(Env env, Arguments* arguments) {
  std::vector<UniqueFd> fds;
  for (napi_value item : arguments->Items("fds")) {
    const Value value(env, item);
    if (value.IsNumber()) fds.emplace_back(value.As<Napi::Number>().Int32Value());
  }
  return fds;
}

Napi::Object ToObject(Env env, Instance* instance, const std::shared_ptr<EngineHost>& host) {
  auto out = Napi::Object::New(env);
  auto method = [&](const char* name, auto call) {
    out.Set(name, Napi::Function::New(env, [host, call](const CallbackInfo& info) -> Value {
              return call(info, host->engine.get());
            }));
  };
  method("configure", [](const CallbackInfo& info, Engine* engine) {
    return WithPlan(info, engine, &Engine::Configure);
  });
  method("check", [](const CallbackInfo& info, Engine* engine) {
    return WithPlan(info, engine, &Engine::Check);
  });
  method("setBackend", SetBackend);
  method("snapshot", Snapshot);
  method("stopAccepting", [](const CallbackInfo& info, Engine* engine) {
    engine->StopAccepting();
    return Undefined(info);
  });
  method("relayThreads", [](const CallbackInfo& info, Engine* engine) -> Value {
    return Napi::Number::New(info.Env(), static_cast<double>(engine->relay_threads()));
  });
  method("givingThreads", [](const CallbackInfo& info, Engine* engine) -> Value {
    return Napi::Number::New(info.Env(), static_cast<double>(engine->giving_threads()));
  });
  method("giveSessions", [](const CallbackInfo& info, Engine* engine) {
    Arguments arguments(info.Env(), info[0]);
    std::vector<UniqueFd> pairs = TakenFds(info.Env(), &arguments);
    const uint32_t most = arguments.Has("most") ? arguments.Unsigned("most") : kBatchSessions;
    if (arguments.ok()) engine->GiveSessions(std::move(pairs), most);
    return Undefined(info);
  });
  method("takeSessions", [](const CallbackInfo& info, Engine* engine) {
    Arguments arguments(info.Env(), info[0]);
    std::vector<UniqueFd> pairs = TakenFds(info.Env(), &arguments);
    const uint32_t answers = arguments.Has("answers") ? arguments.Unsigned("answers") : UINT32_MAX;
    if (arguments.ok()) engine->TakeSessions(std::move(pairs), answers);
    return Undefined(info);
  });
  method("takeInventory", [](const CallbackInfo& info, Engine* engine) -> Value {
    return Napi::Boolean::New(info.Env(), engine->TakeInventory());
  });
  method("inventoryFds", [](const CallbackInfo& info, Engine* engine) -> Value {
    auto out = Napi::Array::New(info.Env());
    for (UniqueFd& fd : engine->InventoryFds()) out.Set(out.Length(), fd.Release());
    return out;
  });
  method("handoffRefusal", [](const CallbackInfo& info, Engine* engine) -> Value {
    return Napi::String::New(info.Env(), engine->HandoffRefusal());
  });
  method("handoffPauses", [](const CallbackInfo& info, Engine* engine) -> Value {
    return ToValue(info.Env(), engine->HandoffPauses());
  });
  method("endSessions", [](const CallbackInfo& info, Engine* engine) {
    engine->EndSessions();
    return Undefined(info);
  });
  method("close", [instance, host](const CallbackInfo& info, Engine*) {
    CloseEngine(instance, host);
    return Undefined(info);
  });
  return out;
}

Value CreateEngine(const CallbackInfo& info) {
  Instance& instance = InstanceOf(info.Env());
  Arguments arguments(info.Env(), info[0]);
  EngineOptions options;
  options.handshake_threads =
      static_cast<uint32_t>(arguments.Integer("handshakeThreads", 1, 1'024));
  options.relay_threads = static_cast<uint32_t>(arguments.Integer("relayThreads", 1, 1'024));
  options.key_update_records =
      static_cast<uint64_t>(arguments.Integer("keyUpdateRecords", 0, kMostExact));
  options.worker = static_cast<uint32_t>(arguments.Integer("worker", 0, kMostWorkers - 1));
  options.counters_fd = arguments.Fd("countersFd", -1);
  const auto kernel = arguments.Choice<KernelDirections>(
      "kernelDirections", {{"both", {true, true}}, {"tx", {true, false}}, {"rx", {false, true}}});
  options.kernel_tx = kernel.tx;
  options.kernel_rx = kernel.rx;
  Callback on_events = Keep(&arguments, info.Env(), "onEvents");
  if (!arguments.ok()) return Undefined(info);
  if (instance.log == nullptr) {
    ThrowCoded(info.Env(), "ERR_NATIVE_STATE", "openLog must come before createEngine");
    return Undefined(info);
  }
  auto host = std::make_shared<EngineHost>();
  // The watcher closes its descriptor, the queue its own.
  UniqueFd wake(::fcntl(host->events.wake_fd().get(), F_DUPFD_CLOEXEC, 3));
  if (!wake.valid()) return Done(info, Status::FromErrno("eventfd"));
  auto deliver = [queue = &host->events, on_events](int) {
    Napi::HandleScope scope(on_events->Env());
    auto convert = [&](const EngineEvent& event) { return ToValue(on_events->Env(), event); };
    Call(on_events, {ToArray(on_events->Env(), queue->Take(), convert)});
  };
  int error = 0;
  host->watcher =
      instance.watchers.Open(std::move(wake), Watchers::Life::kBackground, deliver, &error);
  if (error != 0) return Done(info, {-error, "uv_poll_start"});
  auto push = [queue = &host->events](const EngineEvent& event) { queue->Push(event); };
  std::set_new_handler(WaitForMemory);
  host->engine = std::make_unique<Engine>(options, *instance.log, push);
  instance.engines.insert(host);
  return ToObject(info.Env(), &instance, host);
}

Value TellHandoffVersion(const CallbackInfo& info) {
  return Napi::Number::New(info.Env(), HandoffVersion());
}

Value MakeCounters(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  const std::vector<std::string> names = arguments.Texts("names");
  const uint32_t threads = arguments.Unsigned("threads");
  if (!arguments.ok()) return Undefined(info);
  UniqueFd fd;
  const int error = CounterPage::Make(names, threads, &fd);
  return GiveFd(info, {-error, "memfd_create"}, std::move(fd));
}

Value ReadCounters(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  const int fd = arguments.Fd("fd");
  CounterReading reading;
  if (!arguments.ok()) return Undefined(info);
  if (!ReadCounterPage(fd, &reading)) return Done(info, {EINVAL, "mmap"});
  auto counters = Napi::Object::New(info.Env());
  for (const auto& [name, value] : reading.numbers) counters.Set(name, static_cast<double>(value));
  auto out = Napi::Object::New(info.Env());
  out.Set("counters", counters);
  out.Set("pauses", ToValue(info.Env(), reading.pauses));
  return out;
}

Value ExamineInventory(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  const int fd = arguments.Fd("fd");
  Examined examined;
  if (!arguments.ok()) return Undefined(info);
  if (!Examine(fd, &examined)) return Done(info, {EBADMSG, "mmap"});
  auto out = Napi::Object::New(info.Env());
  out.Set("kernel", static_cast<double>(examined.kernel));
  out.Set("userspace", static_cast<double>(examined.userspace));
  out.Set("kernel_tx", static_cast<double>(examined.kernel_tx));
  out.Set("kernel_rx", static_cast<double>(examined.kernel_rx));
  out.Set("refused", static_cast<double>(examined.refused));
  out.Set("firstRefused",
          ToArray(info.Env(), examined.first_refused, [&](const Examined::Refused& refused) {
            auto entry = Napi::Object::New(info.Env());
            entry.Set("id", std::string(std::string_view(ConnectionName(refused.id))));
            entry.Set("reason", FaultText(refused.fault));
            return entry;
          }));
  return out;
}

Value WipeInventoryFd(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  const int fd = arguments.Fd("fd");
  if (!arguments.ok()) return Undefined(info);
  return Done(info, {-WipeInventory(fd), "mmap"});
}

}  // namespace

std::span<const Export> EngineExports() {
  static constexpr Export kExports[] = {
      {"createEngine", CreateEngine},         {"handoffVersion", TellHandoffVersion},
      {"makeCounters", MakeCounters},         {"readCounters", ReadCounters},
      {"examineInventory", ExamineInventory}, {"wipeInventory", WipeInventoryFd},
  };
  return kExports;
}

}  // namespace ironsocket
