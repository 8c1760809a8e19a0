// SPDX-License-Identifier: MIT
// Lets user-mode-linux before 6.13 run on CPUs with AMX. It keeps the 2696 bytes of extended
// registers that AVX-512 needs for each thread; a host whose CPU has more takes nothing less than
// all of them (PTRACE_SETREGSET with NT_X86_XSTATE gives EFAULT). The rest is AMX, which no program
// inside may use: the header of the area already says that it is in its initial state, so zeros
// complete it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

// Not on the stack, which is a small one of the kernel; its callers are never two at once. The host
// takes as much as it needs.
static char area[65536];

long ptrace(enum __ptrace_request request, ...) {
  static long (*next)(enum __ptrace_request, ...);
  if (next == NULL) next = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");

  va_list arguments;
  va_start(arguments, request);
  const pid_t pid = va_arg(arguments, pid_t);
  void* const address = va_arg(arguments, void*);
  void* data = va_arg(arguments, void*);
  va_end(arguments);

  struct iovec whole = {area, sizeof area};
  if (request == PTRACE_SETREGSET && (unsigned long)address == NT_X86_XSTATE) {
    const struct iovec* const known = data;
    memcpy(area, known->iov_base, known->iov_len);
    data = &whole;
  }
  return next(request, pid, address, data);
}
