// SPDX-License-Identifier: MIT
#include "control/arguments.h"

#include <uv.h>

#include <cerrno>
#include <cmath>
#include <cstring>

namespace ironsocket {
namespace {

napi_value ToValue(napi_env env, const std::string& text) {
  napi_value out = nullptr;
  napi_create_string_utf8(env, text.data(), text.size(), &out);
  return out;
}

napi_value NewError(napi_env env, const std::string& code, const std::string& message) {
  napi_value error = nullptr;
  napi_create_error(env, ToValue(env, code), ToValue(env, message), &error);
  return error;
}

}  // namespace

void ThrowCoded(napi_env env, const char* code, const std::string& message) {
  napi_throw(env, NewError(env, code, message));
}

void ThrowStatus(napi_env env, const Status& status, const std::string& subject) {
  // libuv's error numbers are negative errnos on Linux. It has no name for this one, which
  // sendmsg(2) with descriptors fails with.
  const bool too_many = status.error == ETOOMANYREFS;
  const std::string code = too_many ? "ETOOMANYREFS" : uv_err_name(-status.error);
  const char* text = too_many ? std::strerror(ETOOMANYREFS) : uv_strerror(-status.error);
  const std::string message = std::string(status.syscall) + " " + code + ": " + text;
  napi_value error = NewError(env, code, subject.empty() ? message : message + " " + subject);
  napi_value number = nullptr;
  napi_create_int32(env, -status.error, &number);
  napi_set_named_property(env, error, "errno", number);
  napi_set_named_property(env, error, "syscall", ToValue(env, status.syscall));
  napi_throw(env, error);
}

Arguments::Arguments(napi_env env, napi_value object) : env_(env), object_(object) {
  if (TypeOf(object) != napi_object) Fail("the argument", "an object");
}

napi_value Arguments::Get(const char* name) {
  napi_value out = nullptr;
  if (ok_ && napi_get_named_property(env_, object_, name, &out) != napi_ok) ok_ = false;
  if (!ok_) napi_get_undefined(env_, &out);
  return out;
}

bool Arguments::Has(const char* name) { return TypeOf(Get(name)) != napi_undefined; }

int64_t Arguments::Integer(const char* name, int64_t low, int64_t high) {
  int64_t out = low;
  if (!ToNumber(Get(name), low, high, &out)) Fail(name, "a whole number in range");
  return out;
}

bool Arguments::Flag(const char* name) {
  bool out = false;
  if (napi_get_value_bool(env_, Get(name), &out) != napi_ok) Fail(name, "a boolean");
  return out;
}

std::string Arguments::Text(const char* name) {
  std::string out;
  if (!ToText(Get(name), &out)) Fail(name, "a string");
  return out;
}

napi_value Arguments::Function(const char* name) {
  napi_value out = Get(name);
  if (TypeOf(out) != napi_function) Fail(name, "a function");
  return out;
}

std::vector<napi_value> Arguments::Items(const char* name) {
  std::vector<napi_value> out;
  napi_value array = Get(name);
  uint32_t length = 0;
  if (napi_get_array_length(env_, array, &length) != napi_ok) {
    Fail(name, "an array");
    return out;
  }
  for (uint32_t i = 0; ok_ && i < length; ++i) {
    napi_value item = nullptr;
    ok_ = napi_get_element(env_, array, i, &item) == napi_ok;
    if (ok_) out.push_back(item);
  }
  return out;
}

std::vector<std::string> Arguments::Texts(const char* name) {
  std::vector<std::string> out;
  for (napi_value item : Items(name)) {
    if (!ToText(item, &out.emplace_back())) Fail(name, "an array of strings");
  }
  return out;
}

std::vector<uint32_t> Arguments::Numbers(const char* name) {
  std::vector<uint32_t> out;
  for (napi_value item : Items(name)) {
    int64_t number = 0;
    if (!ToNumber(item, 0, UINT32_MAX, &number)) Fail(name, "an array of whole numbers");
    out.push_back(static_cast<uint32_t>(number));
  }
  return out;
}

std::vector<std::string> Arguments::Names() {
  std::vector<std::string> out;
  napi_value names = nullptr;
  uint32_t length = 0;
  if (!ok_ || napi_get_all_property_names(
                  env_, object_, napi_key_own_only,
                  static_cast<napi_key_filter>(napi_key_enumerable | napi_key_skip_symbols),
                  napi_key_numbers_to_strings, &names) != napi_ok) {
    ok_ = false;
    return out;
  }
  napi_get_array_length(env_, names, &length);
  for (uint32_t i = 0; i < length; ++i) {
    napi_value name = nullptr;
    napi_get_element(env_, names, i, &name);
    ToText(name, &out.emplace_back());
  }
  return out;
}

napi_valuetype Arguments::TypeOf(napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env_, value, &type);
  return type;
}

bool Arguments::ToText(napi_value value, std::string* out) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env_, value, nullptr, 0, &length) != napi_ok) return false;
  out->resize(length);
  // Writes a NUL after the text, for which std::string has room.
  return napi_get_value_string_utf8(env_, value, out->data(), length + 1, &length) == napi_ok;
}

bool Arguments::ToNumber(napi_value value, int64_t low, int64_t high, int64_t* out) {
  double number = 0;
  if (napi_get_value_double(env_, value, &number) != napi_ok) return false;
  // Written so that NaN is refused.
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high))) return false;
  if (number != std::floor(number)) return false;
  *out = static_cast<int64_t>(number);
  return true;
}

void Arguments::Fail(const char* name, const char* wanted) {
  if (!ok_) return;
  ok_ = false;
  napi_value error = nullptr;
  napi_create_type_error(env_, ToValue(env_, "ERR_NATIVE_ARGUMENT"),
                         ToValue(env_, std::string(name) + " must be " + wanted), &error);
  napi_throw(env_, error);
}

}  // namespace ironsocket
