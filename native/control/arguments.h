// SPDX-License-Identifier: MIT
// The one object that a call of the addon takes, read field by field, and the errors that calls
// throw. Written against node_api.h: node-addon-api aborts the process when a getter throws null.
// For use within one call, on the JavaScript thread.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "control/status.h"

namespace ironsocket {

// Throws an Error with `code`.
void ThrowCoded(napi_env env, const char* code, const std::string& message);

// Throws the failure of a system call in the shape of Node's own: code, negative errno, syscall,
// and the message `bind EADDRINUSE: address already in use 127.0.0.1:443`.
void ThrowStatus(napi_env env, const Status& status, const std::string& subject = "");

// The first field of a wrong type throws a TypeError (code ERR_NATIVE_ARGUMENT); from then on
// everything reads as empty and ok() is false, so a caller reads all it needs and asks once.
class Arguments {
 public:
  Arguments(napi_env env, napi_value object);

  bool ok() const { return ok_; }
  bool Has(const char* name);
  // undefined, too, once not ok().
  napi_value Get(const char* name);
  int64_t Integer(const char* name, int64_t low, int64_t high);
  int Fd(const char* name, int lowest = 0) {
    return static_cast<int>(Integer(name, lowest, INT32_MAX));
  }
  uint32_t Unsigned(const char* name) {
    return static_cast<uint32_t>(Integer(name, 0, UINT32_MAX));
  }
  bool Flag(const char* name);
  std::string Text(const char* name);
  napi_value Function(const char* name);
  std::vector<napi_value> Items(const char* name);
  std::vector<std::string> Texts(const char* name);
  std::vector<uint32_t> Numbers(const char* name);
  // One of `words` as the value it stands for.
  template <typename T>
  T Choice(const char* name, std::initializer_list<std::pair<const char*, T>> words) {
    std::string text = Text(name);
    for (const auto& [word, value] : words) {
      if (text == word) return value;
    }
    Fail(name, "one of its known words");
    return words.begin()->second;
  }
  // Own names of the object, in their order.
  std::vector<std::string> Names();

 private:
  napi_valuetype TypeOf(napi_value value);
  bool ToText(napi_value value, std::string* out);
  bool ToNumber(napi_value value, int64_t low, int64_t high, int64_t* out);
  void Fail(const char* name, const char* wanted);

  napi_env env_;
  napi_value object_;
  bool ok_ = true;
};

}  // namespace ironsocket
