// SPDX-License-Identifier: MIT
// The addon's kernel TLS: what the running kernel can carry.
#include <uv.h>

#include "addon.h"
#include "record/kernel_probe.h"

namespace ironsocket {
namespace {

const char* CipherName(CipherType cipher) {
  switch (cipher) {
    case CipherType::kAes128Gcm:
      return "AES-128-GCM";
    case CipherType::kAes256Gcm:
      return "AES-256-GCM";
    case CipherType::kAes128Ccm:
      return "AES-128-CCM";
    case CipherType::kChacha20Poly1305:
      return "CHACHA20-POLY1305";
  }
  return "";
}

const char* ErrorName(int error) { return error == 0 ? "ok" : uv_err_name(-error); }

Value ToValue(Env env, const KernelAbilities& kernel) {
  auto keys = Napi::Array::New(env);
  for (TlsVersion version : KernelAbilities::kVersions) {
    for (CipherType cipher : KernelAbilities::kCiphers) {
      auto entry = Napi::Object::New(env);
      entry.Set("version", version == TlsVersion::kTls13 ? "1.3" : "1.2");
      entry.Set("cipher", CipherName(cipher));
      entry.Set("tx", ErrorName(kernel.Error(version, cipher, Direction::kSend)));
      entry.Set("rx", ErrorName(kernel.Error(version, cipher, Direction::kReceive)));
      keys.Set(keys.Length(), entry);
    }
  }
  auto out = Napi::Object::New(env);
  out.Set("ulp", ErrorName(kernel.ulp_error));
  out.Set("keys", keys);
  out.Set("rekey", kernel.rekey);
  out.Set("partialPoll", kernel.partial_poll);
  out.Set("spliceWhole", kernel.splice_whole);
  out.Set("maxPayload", kernel.max_payload);
  return out;
}

Value TellKernel(const CallbackInfo& info) { return ToValue(info.Env(), ProbeKernel()); }

}  // namespace

std::span<const Export> KernelExports() {
  static constexpr Export kExports[] = {{"probeKernel", TellKernel}};
  return kExports;
}

}  // namespace ironsocket
