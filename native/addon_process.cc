// SPDX-License-Identifier: MIT
// The addon's log, processes and channels.
#include <fcntl.h>
#include <openssl/crypto.h>

#include "addon.h"
#include "control/process.h"
#include "control/watched_channel.h"

namespace ironsocket {
namespace {

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
  if (InstanceOf(info.Env()).log != nullptr) {
    ThrowCoded(info.Env(), "ERR_NATIVE_STATE", "the log is open already");  // engines refer to it
    return Undefined(info);
  }
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

Value SetLogLevel(const CallbackInfo& info) {
  Arguments arguments(info.Env(), info[0]);
  const Level level = LevelOf(&arguments);
  Log* log = InstanceOf(info.Env()).log.get();
  if (arguments.ok() && log != nullptr) log->SetLevel(level);
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
  Callback on_lost;
  if (arguments.Has("onLost")) on_lost = Keep(&arguments, info.Env(), "onLost");
  Callback on_close = Keep(&arguments, info.Env(), "onClose");
  if (!arguments.ok()) return Undefined(info);
  auto message = [on_message](std::string text, std::vector<UniqueFd> fds) {
    Env env = on_message->Env();
    Napi::HandleScope scope(env);
    auto numbers = ToArray(env, fds, [](const UniqueFd& owned) { return owned.get(); });
    for (UniqueFd& owned : fds) owned.Release();
    Call(on_message, {Napi::String::New(env, text), numbers});
  };
  auto lost = [on_lost](std::string text) {
    if (!on_lost) return;
    Env env = on_lost->Env();
    Napi::HandleScope scope(env);
    Call(on_lost, {Napi::String::New(env, text)});
  };
  auto closed = [on_close] {
    Napi::HandleScope scope(on_close->Env());
    Call(on_close, {});
  };
  Status status;
  auto channel = WatchedChannel::Open(&InstanceOf(info.Env()).watchers, UniqueFd(fd), message, lost,
                                      closed, &status);
  if (!status.ok()) return Done(info, status);
  auto& channels = InstanceOf(info.Env()).channels;
  std::erase_if(channels, [](const auto& each) { return each.expired(); });
  channels.push_back(channel);
  auto out = Napi::Object::New(info.Env());
  auto send = [channel](const CallbackInfo& call) { return SendOnChannel(call, channel.get()); };
  out.Set("send", Napi::Function::New(info.Env(), send));
  out.Set("close",
          Napi::Function::New(info.Env(), [channel](const CallbackInfo&) { channel->Close(); }));
  return out;
}

}  // namespace

std::span<const Export> ProcessExports() {
  static constexpr Export kExports[] = {
      {"opensslVersion", OpensslVersion},
      {"openLog", OpenLog},
      {"log", WriteLog},
      {"reopenLog", ReopenLog},
      {"setLogLevel", SetLogLevel},
      {"logCounts", LogCounts},
      {"hardenProcess", Harden},
      {"socketPair", MakeSocketPair},
      {"openChannel", OpenChannel},
      {"pidfdOpen", OpenPidfd},
      {"pidfdSignal", SignalPidfd},
      {"watchExit", WatchExit},
      {"lookUpIdentity", LookUpIdentity},
      {"dropPrivileges", SetIdentity},
  };
  return kExports;
}

}  // namespace ironsocket
