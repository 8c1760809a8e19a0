// SPDX-License-Identifier: MIT
// The addon: src/native.ts in C++. Every function only converts: it reads the one object of the
// call, has a plain C++ function do the work, and gives back the result or throws. Nothing else
// includes napi.h. All runs on the JavaScript thread of one Node environment, whose state is an
// Instance.
#include <fcntl.h>
#include <napi.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <set>

#include "control/arguments.h"
#include "control/event_queue.h"
#include "control/memfd.h"
#include "control/process.h"
#include "control/watched_channel.h"
#include "engine.h"
#include "handshake/certificate.h"
#include "handshake/ticket_keys.h"
#include "log/log.h"
#include "net/listen.h"

namespace ironsocket {
namespace {

using Napi::CallbackInfo;
using Napi::Env;
using Napi::Value;

// ---- the state of one environment

struct EngineHost {
  EventQueue events;
  Watcher* watcher = nullptr;
  std::unique_ptr<Engine> engine;  // the last member: its threads push into `events`
};

struct Instance {
  explicit Instance(uv_loop_t* loop) : watchers(loop) {}

  Watchers watchers;
  std::unique_ptr<Log> log;
  std::set<std::shared_ptr<EngineHost>> engines;

  // Ends every thread. The log goes last: engines write to it until they are closed.
  void StopThreads() {
    for (const auto& host : engines) host->engine->Close();
    log.reset();
  }
};

Instance& InstanceOf(Env env) { return *env.GetInstanceData<Instance>(); }

// The only global, because an exit handler gets no argument.
struct Living {
  std::mutex mutex;
  std::set<Instance*> instances;
};

Living& LivingInstances() {
  static auto* living = new Living;  // never destroyed: it is needed while the process exits
  return *living;
}

// Node runs no cleanup hooks on process.exit(). OpenSSL's own exit handler, registered before this
// one and so run after it, frees what running threads still use.
void StopAtExit() {
  std::lock_guard<std::mutex> lock(LivingInstances().mutex);
  for (Instance* instance : LivingInstances().instances) instance->StopThreads();
}

// ---- results

Value Undefined(const CallbackInfo& info) { return info.Env().Undefined(); }

Value Done(const CallbackInfo& info, const Status& status, const std::string& subject = "") {
  if (!status.ok()) ThrowStatus(info.Env(), status, subject);
  return info.Env().Undefined();
}

Value GiveFd(const CallbackInfo& info, const Status& status, UniqueFd fd,
             const std::string& subject = "") {
  return status.ok() ? Napi::Number::New(info.Env(), fd.Release()) : Done(info, status, subject);
}

Status MadeOr(const UniqueFd& fd, const char* syscall) {
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

Callback Keep(Arguments* arguments, Env env, const char* name) {
  Napi::Function function(env, arguments->Function(name));
  return std::make_shared<Napi::FunctionReference>(arguments->ok() ? Napi::Persistent(function)
                                                                   : Napi::FunctionReference());
}

// What the callback throws, null included, becomes an uncaught exception. A handle scope is open.
void Call(const Callback& callback, const std::vector<napi_value>& arguments) {
  napi_env env = callback->Env();
  napi_value global = nullptr, result = nullptr, error = nullptr;
  napi_get_global(env, &global);
  napi_status status = napi_make_callback(env, nullptr, global, callback->Value(), arguments.size(),
                                          arguments.data(), &result);
  if (status == napi_pending_exception &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok) {
    napi_fatal_exception(env, error);
  }
}

// ---- log

Level LevelOf(Arguments* arguments) {
  return arguments->Choice<Level>("level", {{"fatal", Level::kFatal},
                                            {"error", Level::kError},
                                            {"warn", Level::kWarn},
                                            {"info", Level::kInfo},
                                            {"debug", Level::kDebug}});
}

Value OpenLog(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int fd = arguments.Fd("fd");
  Level level = LevelOf(&arguments);
  std::string process_type = arguments.Text("processType");
  if (!arguments.ok()) return Undefined(info);
  InstanceOf(info.Env()).log = std::make_unique<Log>(UniqueFd(fd), level, process_type);
  return Undefined(info);
}

void AddField(LogLine* line, const std::string& key, const Value& value) {
  if (value.IsUndefined()) return;
  bool whole = value.IsNumber() && value.As<Napi::Number>().DoubleValue() ==
                                       static_cast<double>(value.As<Napi::Number>().Int64Value());
  if (whole) {
    line->Add(key, value.As<Napi::Number>().Int64Value());
  } else if (value.IsString() || value.IsNumber() || value.IsBigInt() || value.IsBoolean()) {
    line->Add(key, value.ToString().Utf8Value());
  }
}

Value WriteLog(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  Level level = LevelOf(&arguments);
  std::string event = arguments.Text("event");
  Arguments fields(info.Env(), arguments.Get("fields"));
  Log* log = InstanceOf(info.Env()).log.get();
  if (!arguments.ok() || log == nullptr || !log->Enabled(level)) return Undefined(info);
  LogLine line(*log, level, event);
  for (const std::string& name : fields.Names())
    AddField(&line, name, Value(info.Env(), fields.Get(name.c_str())));
  if (fields.ok()) line.Send();
  return Undefined(info);
}

Value ReopenLog(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int fd = arguments.Fd("fd");
  Log* log = InstanceOf(info.Env()).log.get();
  if (!arguments.ok()) return Undefined(info);
  UniqueFd taken(fd);
  if (log != nullptr) log->Reopen(std::move(taken));
  return Undefined(info);
}

Value LogCounts(const CallbackInfo& info) {
  Log* log = InstanceOf(info.Env()).log.get();
  auto out = Napi::Object::New(info.Env());
  out.Set("written", log == nullptr ? 0.0 : static_cast<double>(log->written()));
  out.Set("dropped", log == nullptr ? 0.0 : static_cast<double>(log->dropped()));
  return out;
}

// ---- processes

Value OpensslVersion(const CallbackInfo& info) {
  return Napi::String::New(info.Env(), OpenSSL_version(OPENSSL_VERSION_STRING));
}

Value Harden(const CallbackInfo& info) {
  uint64_t limit = 0;
  if (Status status = HardenProcess(&limit); !status.ok()) return Done(info, status);
  auto out = Napi::Object::New(info.Env());
  out.Set("fileLimit", static_cast<double>(limit));
  return out;
}

Value LookUpIdentity(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  std::string user = arguments.Text("user");
  std::string group = arguments.Has("group") ? arguments.Text("group") : "";
  Identity identity;
  if (!arguments.ok()) return Undefined(info);
  Status status = ResolveIdentity(user, group, &identity);
  if (!status.ok()) return Done(info, status, status.syscall == kLookUpGroup ? group : user);
  auto out = Napi::Object::New(info.Env());
  out.Set("uid", identity.uid);
  out.Set("gid", identity.gid);
  out.Set("groups", ToArray(info.Env(), identity.groups, [](gid_t gid) { return gid; }));
  return out;
}

Value SetIdentity(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  Identity identity{arguments.Unsigned("uid"), arguments.Unsigned("gid"),
                    arguments.Numbers("groups")};
  return arguments.ok() ? Done(info, DropPrivileges(identity)) : Undefined(info);
}

Value MakeSocketPair(const CallbackInfo& info) {
  UniqueFd a, b;
  if (Status status = Channel::Pair(&a, &b); !status.ok()) return Done(info, status);
  auto out = Napi::Object::New(info.Env());
  out.Set("a", a.Release());
  out.Set("b", b.Release());
  return out;
}

Value OpenPidfd(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  auto pid = static_cast<pid_t>(arguments.Integer("pid", 1, INT32_MAX));
  UniqueFd pidfd;
  if (!arguments.ok()) return Undefined(info);
  Status status = PidfdOpen(pid, &pidfd);
  return GiveFd(info, status, std::move(pidfd));
}

Value SignalPidfd(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int pidfd = arguments.Fd("pidfd");
  auto signal = static_cast<int>(arguments.Integer("signal", 0, 64));
  return arguments.ok() ? Done(info, PidfdSignal(pidfd, signal)) : Undefined(info);
}

Value WatchExit(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int borrowed = arguments.Fd("pidfd");
  Callback on_exit = Keep(&arguments, info.Env(), "onExit");
  if (!arguments.ok()) return Undefined(info);
  UniqueFd pidfd(::fcntl(borrowed, F_DUPFD_CLOEXEC, 3));
  if (!pidfd.valid()) return Done(info, Status::FromErrno("fcntl"));
  auto watcher = std::make_shared<Watcher*>(nullptr);
  auto stop = [watcher] {
    if (*watcher != nullptr) std::exchange(*watcher, nullptr)->Close();
  };
  // A pidfd is readable once its process has ended (pidfd_open(2)), and stays so.
  auto ended = [stop, on_exit](int) {
    Napi::HandleScope scope(on_exit->Env());
    stop();
    Call(on_exit, {});
  };
  int error = 0;
  *watcher = InstanceOf(info.Env())
                 .watchers.Open(std::move(pidfd), Watchers::Life::kKeepsProcess, ended, &error);
  if (error != 0) return Done(info, {-error, "uv_poll_start"});
  return Napi::Function::New(info.Env(), [stop](const CallbackInfo&) { stop(); });
}

// ---- channels

Value SendOnChannel(const CallbackInfo& info, WatchedChannel* channel) {
  Arguments arguments(info.Env(), info[0]);
  std::string message = arguments.Text("message");
  std::vector<uint32_t> numbers;
  if (arguments.Has("fds")) numbers = arguments.Numbers("fds");
  std::vector<int> fds(numbers.begin(), numbers.end());
  return arguments.ok() ? Done(info, channel->Send(message, fds)) : Undefined(info);
}

Value OpenChannel(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int fd = arguments.Fd("fd");
  Callback on_message = Keep(&arguments, info.Env(), "onMessage");
  Callback on_close = Keep(&arguments, info.Env(), "onClose");
  if (!arguments.ok()) return Undefined(info);
  auto message = [on_message](std::string text, std::vector<UniqueFd> fds) {
    Env env = on_message->Env();
    Napi::HandleScope scope(env);
    auto numbers = ToArray(env, fds, [](const UniqueFd& owned) { return owned.get(); });
    for (UniqueFd& owned : fds) owned.Release();
    Call(on_message, {Napi::String::New(env, text), numbers});
  };
  auto closed = [on_close] {
    Napi::HandleScope scope(on_close->Env());
    Call(on_close, {});
  };
  Status status;
  auto channel = WatchedChannel::Open(&InstanceOf(info.Env()).watchers, UniqueFd(fd), message,
                                      closed, &status);
  if (!status.ok()) return Done(info, status);
  auto out = Napi::Object::New(info.Env());
  auto send = [channel](const CallbackInfo& call) { return SendOnChannel(call, channel.get()); };
  out.Set("send", Napi::Function::New(info.Env(), send));
  out.Set("close",
          Napi::Function::New(info.Env(), [channel](const CallbackInfo&) { channel->Close(); }));
  return out;
}

// ---- descriptors and files

Value CloseFd(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int fd = arguments.Fd("fd");
  if (arguments.ok()) UniqueFd(fd).Reset();
  return Undefined(info);
}

Value DuplicateFd(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int fd = arguments.Fd("fd");
  if (!arguments.ok()) return Undefined(info);
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  Status status = MadeOr(copy, "fcntl");
  return GiveFd(info, status, std::move(copy));
}

Value KeepFdOverExec(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int fd = arguments.Fd("fd");
  if (!arguments.ok()) return Undefined(info);
  return Done(info, ::fcntl(fd, F_SETFD, 0) == 0 ? Status{} : Status::FromErrno("fcntl"));
}

Value MakeListener(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  ListenOptions options;
  options.address = arguments.Text("address");
  options.backlog = static_cast<int>(arguments.Integer("backlog", 1, INT32_MAX));
  options.v6_only = arguments.Flag("v6Only");
  if (arguments.Has("mode")) options.mode = arguments.Unsigned("mode") & 0777;
  UniqueFd fd;
  if (!arguments.ok()) return Undefined(info);
  Status status = Listen(options, &fd);
  return GiveFd(info, status, std::move(fd), options.address);
}

Value TellLocalAddress(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int fd = arguments.Fd("fd");
  std::string address;
  if (!arguments.ok()) return Undefined(info);
  Status status = LocalAddress(fd, &address);
  return status.ok() ? Napi::String::New(info.Env(), address) : Done(info, status);
}

Value LoadFileIntoMemfd(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  std::string path = arguments.Text("path");
  if (!arguments.ok()) return Undefined(info);
  UniqueFd fd = LoadFile(path);
  Status status = MadeOr(fd, "read");
  return GiveFd(info, status, std::move(fd), path);
}

Value MakeTextMemfd(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  std::string name = arguments.Text("name");
  std::string text = arguments.Text("text");
  UniqueFd fd;
  if (!arguments.ok()) return Undefined(info);
  Status status = TextToMemfd(name, text, &fd);
  return GiveFd(info, status, std::move(fd));
}

Value ReadTextMemfd(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int fd = arguments.Fd("fd");
  std::string text;
  if (!arguments.ok()) return Undefined(info);
  Status status = TextFromMemfd(fd, &text);
  return status.ok() ? Napi::String::New(info.Env(), text) : Done(info, status);
}

// ---- certificates and tickets

Value ToValue(Env env, const CertificateInfo& certificate) {
  auto out = Napi::Object::New(env);
  out.Set("role", certificate.role);
  out.Set("fingerprint", certificate.fingerprint);
  out.Set("subject", certificate.subject);
  out.Set("issuer", certificate.issuer);
  out.Set("serial", certificate.serial);
  out.Set("notBefore", static_cast<double>(certificate.not_before));
  out.Set("notAfter", static_cast<double>(certificate.not_after));
  out.Set("names", ToArray(env, certificate.names, [](const std::string& name) { return name; }));
  out.Set("keyType", certificate.key_type);
  return out;
}

Value InspectCertificateFds(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int chain_fd = arguments.Fd("chainFd");
  int key_fd = arguments.Fd("keyFd", -1);
  if (!arguments.ok()) return Undefined(info);
  CertificateReport report;
  std::string error;
  if (!InspectCertificate(chain_fd, key_fd, &report, &error)) {
    ThrowCoded(info.Env(), "ERR_CERTIFICATE_INVALID", error);
    return Undefined(info);
  }
  auto out = Napi::Object::New(info.Env());
  auto convert = [&](const CertificateInfo& certificate) {
    return ToValue(info.Env(), certificate);
  };
  out.Set("chain", ToArray(info.Env(), report.chain, convert));
  out.Set("keyMatches", report.key_matches);
  out.Set("keyType", report.key_type);
  return out;
}

Value MakeCertificate(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  std::vector<std::string> names = arguments.Texts("names");
  auto days = static_cast<int>(arguments.Integer("days", 1, 36'500));
  UniqueFd chain_fd, key_fd;
  std::string error;
  if (!arguments.ok()) return Undefined(info);
  if (!GenerateCertificate(names, days, &chain_fd, &key_fd, &error)) {
    ThrowCoded(info.Env(), "ERR_CERTIFICATE_GENERATE", error);
    return Undefined(info);
  }
  auto out = Napi::Object::New(info.Env());
  out.Set("chainFd", chain_fd.Release());
  out.Set("keyFd", key_fd.Release());
  return out;
}

Value CreateTicketKeys(const CallbackInfo& info) {
  UniqueFd fd = TicketKeys::Create();
  Status status = MadeOr(fd, "memfd_create");
  return GiveFd(info, status, std::move(fd));
}

Value RotateTicketKeys(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  int fd = arguments.Fd("fd");
  return arguments.ok() ? Done(info, {-TicketKeys::Rotate(fd), "mmap"}) : Undefined(info);
}

// ---- the engine

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
  return plan;
}

Value Configure(const CallbackInfo& info, Engine* engine) {
  Arguments arguments(info.Env(), info[0]);
  Plan plan;
  for (napi_value item : arguments.Items("listeners")) {
    plan.listeners.push_back(ToListenerPlan(info.Env(), Arguments(info.Env(), item)));
  }
  plan.max_connections = arguments.Unsigned("maxConnections");
  plan.ticket_keys_fd = arguments.Fd("ticketKeysFd", -1);
  std::string error;
  if (!info.Env().IsExceptionPending() && arguments.ok() && !engine->Configure(plan, &error)) {
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
    case EngineEvent::Type::kBackendFailed:
      out.Set("type", "backend-failed");
      out.Set("listener", event.listener);
      break;
    case EngineEvent::Type::kAcceptPaused:
      out.Set("type", "accept-paused");
      out.Set("error", uv_err_name(-event.error));
      break;
  }
  return out;
}

void CloseEngine(Instance* instance, const std::shared_ptr<EngineHost>& host) {
  host->engine->Close();
  if (host->watcher != nullptr) std::exchange(host->watcher, nullptr)->Close();
  instance->engines.erase(host);
}

Napi::Object ToObject(Env env, Instance* instance, const std::shared_ptr<EngineHost>& host) {
  auto out = Napi::Object::New(env);
  auto method = [&](const char* name, auto call) {
    out.Set(name, Napi::Function::New(env, [host, call](const CallbackInfo& info) -> Value {
              return call(info, host->engine.get());
            }));
  };
  method("configure", Configure);
  method("setBackend", SetBackend);
  method("snapshot", Snapshot);
  method("stopAccepting", [](const CallbackInfo& info, Engine* engine) {
    engine->StopAccepting();
    return Undefined(info);
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
      static_cast<uint64_t>(arguments.Integer("keyUpdateRecords", 0, 1LL << 52));
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
  host->engine = std::make_unique<Engine>(options, *instance.log, push);
  instance.engines.insert(host);
  return ToObject(info.Env(), &instance, host);
}

// ---- the module

constexpr struct {
  const char* name;
  Value (*function)(const CallbackInfo&);
} kFunctions[] = {
    {"opensslVersion", OpensslVersion},
    {"openLog", OpenLog},
    {"log", WriteLog},
    {"reopenLog", ReopenLog},
    {"logCounts", LogCounts},
    {"hardenProcess", Harden},
    {"socketPair", MakeSocketPair},
    {"openChannel", OpenChannel},
    {"pidfdOpen", OpenPidfd},
    {"pidfdSignal", SignalPidfd},
    {"watchExit", WatchExit},
    {"lookUpIdentity", LookUpIdentity},
    {"dropPrivileges", SetIdentity},
    {"closeFd", CloseFd},
    {"duplicateFd", DuplicateFd},
    {"keepFdOverExec", KeepFdOverExec},
    {"listen", MakeListener},
    {"localAddress", TellLocalAddress},
    {"loadFile", LoadFileIntoMemfd},
    {"textToMemfd", MakeTextMemfd},
    {"memfdToText", ReadTextMemfd},
    {"inspectCertificate", InspectCertificateFds},
    {"generateCertificate", MakeCertificate},
    {"createTicketKeys", CreateTicketKeys},
    {"rotateTicketKeys", RotateTicketKeys},
    {"createEngine", CreateEngine},
};

// A worker_thread ends, or main returned: threads first, then the handles of its loop, which Node
// waits for.
void CleanUp(napi_async_cleanup_hook_handle hook, void* data) {
  auto* instance = static_cast<Instance*>(data);
  {
    std::lock_guard<std::mutex> lock(LivingInstances().mutex);
    LivingInstances().instances.erase(instance);
  }
  instance->StopThreads();
  instance->watchers.CloseAll([hook] { napi_remove_async_cleanup_hook(hook); });
}

Napi::Object Init(Env env, Napi::Object exports) {
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  auto* instance = new Instance(loop);
  env.SetInstanceData(instance);
  napi_add_async_cleanup_hook(env, CleanUp, instance, nullptr);
  static std::once_flag once;
  std::call_once(once, [] { std::atexit(StopAtExit); });
  std::lock_guard<std::mutex> lock(LivingInstances().mutex);
  LivingInstances().instances.insert(instance);
  for (const auto& [name, function] : kFunctions)
    exports.Set(name, Napi::Function::New(env, function, name));
  return exports;
}

NODE_API_MODULE(ironsocket, Init)

}  // namespace
}  // namespace ironsocket
