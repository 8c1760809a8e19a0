// SPDX-License-Identifier: MIT
// The addon as a module: its functions, and the end of its threads and channels however the process
// or the environment ends.
#include "addon.h"

#include <cstdlib>
#include <mutex>

namespace ironsocket {

Value Done(const CallbackInfo& info, const Status& status, const std::string& subject) {
  if (!status.ok()) ThrowStatus(info.Env(), status, subject);
  return info.Env().Undefined();
}

Value GiveFd(const CallbackInfo& info, const Status& status, UniqueFd fd,
             const std::string& subject) {
  return status.ok() ? Napi::Number::New(info.Env(), fd.Release()) : Done(info, status, subject);
}

Callback Keep(Arguments* arguments, Env env, const char* name) {
  Napi::Function function(env, arguments->Function(name));
  return std::make_shared<Napi::FunctionReference>(arguments->ok() ? Napi::Persistent(function)
                                                                   : Napi::FunctionReference());
}

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

namespace {

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
void EndAtExit() {
  std::lock_guard<std::mutex> lock(LivingInstances().mutex);
  for (Instance* instance : LivingInstances().instances) instance->End();
}

// A worker_thread ends, or main returned: threads first, then the handles of its loop, which Node
// waits for.
void CleanUp(napi_async_cleanup_hook_handle hook, void* data) {
  auto* instance = static_cast<Instance*>(data);
  {
    std::lock_guard<std::mutex> lock(LivingInstances().mutex);
    LivingInstances().instances.erase(instance);
  }
  instance->End();
  instance->watchers.CloseAll([hook] { napi_remove_async_cleanup_hook(hook); });
}

Napi::Object Init(Env env, Napi::Object exports) {
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  auto* instance = new Instance(loop);
  env.SetInstanceData(instance);
  napi_add_async_cleanup_hook(env, CleanUp, instance, nullptr);
  static std::once_flag once;
  std::call_once(once, [] { std::atexit(EndAtExit); });
  std::lock_guard<std::mutex> lock(LivingInstances().mutex);
  LivingInstances().instances.insert(instance);
  for (const auto& part :
       {ProcessExports(), FileExports(), KernelExports(), EngineExports(), NetworkExports()}) {
    for (const auto& [name, function] : part) {
      exports.Set(name, Napi::Function::New(env, function, name));
    }
  }
  return exports;
}

NODE_API_MODULE(ironsocket, Init)

}  // namespace
}  // namespace ironsocket
