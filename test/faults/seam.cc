// SPDX-License-Identifier: MIT
// System calls of our native code that fail when a test says so. Preloaded (LD_PRELOAD) into
// keeper, master and worker, it stands before the C library for calls that come from
// ironsocket.node or the keeper; all others, Node's above all, pass through. What is to fail stands
// in a file that all of them map (IRONSOCKET_TEST_FAULTS), so it can be changed while they run;
// test/faults/rule.ts writes it. test/faults/calls.cc has the calls.
#include "seam.h"

#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace faults {
namespace {

// As rule.ts has it.
struct Rule {
  std::atomic<uint64_t> armed;
  uint64_t call;
  uint64_t processes;  // bits: Process
  uint64_t place;      // Place
  uint64_t detail;     // what the call is about: an option, an operation, a command; 0: anything
  uint64_t first;      // number of the first call to fail, from 1
  uint64_t every;      // from there on each so many-th
  uint64_t most;       // how many
  int64_t error;       // errno; 0: a short count
  uint64_t bytes;      // of a short count
  std::atomic<uint64_t> seen;
  std::atomic<uint64_t> hits;
  std::atomic<uint64_t> hit_pid;
};

enum Process : uint64_t { kKeeper = 1, kMaster = 2, kWorker = 4, kOther = 8 };
enum Place : uint64_t { kAnywhere = 0, kNetwork = 1, kLocal = 2, kNoSocket = 3 };

struct Watch {
  int epoll = -1;
  epoll_event event;
};
constexpr int kMostWatched = 4096;

Rule* rule = nullptr;
uint64_t process = kOther;
Watch watched[kMostWatched];

uint64_t ProcessFrom(const char* text, size_t size) {
  const auto has = [&](const char* part) { return memmem(text, size, part, std::strlen(part)); };
  if (has("ironsocket: keeper")) return kKeeper;
  if (has("dist/master/main.js")) return kMaster;
  return has("dist/worker/main.js") ? kWorker : kOther;
}

__attribute__((constructor)) void Begin() {
  const char* path = getenv("IRONSOCKET_TEST_FAULTS");
  if (!path) return;
  char text[4096];
  const int command = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  const ssize_t size = command < 0 ? 0 : syscall(SYS_read, command, text, sizeof text);
  close(command);
  process = ProcessFrom(text, size > 0 ? static_cast<size_t>(size) : 0);
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* page = reinterpret_cast<void*>(
      syscall(SYS_mmap, nullptr, sizeof(Rule), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  close(fd);
  if (page != MAP_FAILED) rule = static_cast<Rule*>(page);
}

// Where the code of a part of the process is, once it is loaded.
struct Code {
  const char* name;  // in its file's name; empty: the program itself
  std::atomic<uintptr_t> from{0};
  std::atomic<uintptr_t> to{0};

  bool Has(const void* caller) {
    const auto at = reinterpret_cast<uintptr_t>(caller);
    if (to == 0) dl_iterate_phdr(Find, this);
    return at >= from && at < to;
  }
  static int Find(dl_phdr_info* info, size_t, void* data) {
    Code& code = *static_cast<Code*>(data);
    const bool named = *code.name != 0 && std::strstr(info->dlpi_name, code.name);
    if (!named && (*code.name != 0 || *info->dlpi_name != 0)) return 0;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& part = info->dlpi_phdr[i];
      if (part.p_type != PT_LOAD || !(part.p_flags & PF_X)) continue;
      code.from = info->dlpi_addr + part.p_vaddr;
      code.to = info->dlpi_addr + part.p_vaddr + part.p_memsz;
    }
    return 1;
  }
};
Code addon{"ironsocket.node"};
Code program{""};
Code library{"libstdc++"};

bool IsOurs(const void* caller) { return (process == kKeeper ? program : addon).Has(caller); }

Place PlaceOf(int fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  if (syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) return kNoSocket;
  return domain == AF_UNIX ? kLocal : kNetwork;
}

bool IsHit() {
  const uint64_t number = rule->seen.fetch_add(1) + 1;
  if (number < rule->first || (number - rule->first) % rule->every != 0) return false;
  if (rule->hits.fetch_add(1) >= rule->most) {
    rule->hits.fetch_sub(1);
    return false;
  }
  rule->hit_pid = static_cast<uint64_t>(getpid());
  return true;
}

// An allocation comes out of libstdc++ or OpenSSL: there the thread says whose it is. `detail` 1:
// only those of operator new.
bool IsNative(uint64_t detail, const void* caller) {
  char name[16] = {};
  prctl(PR_GET_NAME, name);
  if (std::strcmp(name, "handshake") != 0 && std::strcmp(name, "relay") != 0) return false;
  return detail == 0 || library.Has(caller);
}

}  // namespace

Fault Meet(Call call, int fd, uint64_t detail, const void* caller) {
  if (!rule || rule->armed == 0 || rule->call != call || !(rule->processes & process)) return {};
  if (call == kMalloc) {
    if (!IsNative(rule->detail, caller)) return {};
  } else if (!IsOurs(caller) || (rule->detail != 0 && rule->detail != detail)) {
    return {};
  }
  if (rule->place != kAnywhere && rule->place != PlaceOf(fd)) return {};
  if (!IsHit()) return {};
  return {true, static_cast<int>(rule->error), static_cast<size_t>(rule->bytes)};
}

void Remember(int epoll, int fd, const epoll_event* event) {
  if (fd < 0 || fd >= kMostWatched) return;
  watched[fd].epoll = event ? epoll : -1;
  if (event) watched[fd].event = *event;
}

void Announce(int fd) {
  if (fd < 0 || fd >= kMostWatched || watched[fd].epoll < 0) return;
  syscall(SYS_epoll_ctl, watched[fd].epoll, EPOLL_CTL_MOD, fd, &watched[fd].event);
}

}  // namespace faults
