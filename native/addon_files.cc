// SPDX-License-Identifier: MIT
// The addon's descriptors, files, certificates and ticket keys.
#include <fcntl.h>

#include "addon.h"
#include "control/memfd.h"
#include "handshake/certificate.h"
#include "handshake/ticket_keys.h"
#include "net/listen.h"

namespace ironsocket {
namespace {

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

}  // namespace

std::span<const Export> FileExports() {
  static constexpr Export kExports[] = {
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
  };
  return kExports;
}

}  // namespace ironsocket
