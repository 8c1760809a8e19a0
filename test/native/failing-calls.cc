// SPDX-License-Identifier: MIT
// Without ThreadSanitizer: it has its own functions before those of the C library.
#include "failing-calls.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>

namespace {

struct Rule {
  FailingCall call;
  int error;
  int left;
};
thread_local Rule rule{};

bool Fails(FailingCall call) {
  if (rule.left == 0 || rule.call != call) return false;
  rule.left--;
  errno = rule.error;
  return true;
}

template <typename Function>
Function* Real(const char* name, Function*) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

FailingCalls::FailingCalls(FailingCall call, int error, int most) { rule = {call, error, most}; }
FailingCalls::~FailingCalls() { rule.left = 0; }
int FailingCalls::left() const { return rule.left; }

extern "C" {

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  static auto* const real = Real("sendmsg", &sendmsg);
  return Fails(FailingCall::kSendmsg) ? -1 : real(fd, message, flags);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
  static auto* const real = Real("fallocate", &fallocate);
  return Fails(FailingCall::kFallocate) ? -1 : real(fd, mode, offset, length);
}

}  // extern "C"
