// SPDX-License-Identifier: MIT
#include "control/process.h"

#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <optional>

namespace ironsocket {
namespace {

// NSS entries have no upper bound; more than this is a fault of the directory.
constexpr size_t kMaxNssBuffer = 1 << 20;

std::optional<uint32_t> ParseId(const std::string& text) {
  uint32_t id = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  // (uid_t)-1 means "leave as it is" to setreuid(2) and friends.
  if (error != std::errc() || end != text.data() + text.size() || id == UINT32_MAX) return {};
  return id;
}

// Runs one of the getXXnam_r(3) family with a buffer that grows as long as it says ERANGE.
template <typename Entry, typename Lookup>
Status Find(const char* syscall, std::vector<char>* buffer, Entry* entry, Lookup lookup) {
  Entry* found = nullptr;
  for (buffer->resize(4096); buffer->size() <= kMaxNssBuffer; buffer->resize(buffer->size() * 2)) {
    int error = lookup(entry, buffer->data(), buffer->size(), &found);
    if (error == ERANGE) continue;
    if (found == nullptr) return {error == 0 ? ENOENT : error, syscall};
    return {};
  }
  return {ERANGE, syscall};
}

Status FindUser(const std::string& user, std::vector<char>* buffer, passwd* entry) {
  return Find(kLookUpUser, buffer, entry,
              [&](passwd* out, char* data, size_t size, passwd** found) {
                std::optional<uint32_t> id = ParseId(user);
                return id ? ::getpwuid_r(*id, out, data, size, found)
                          : ::getpwnam_r(user.c_str(), out, data, size, found);
              });
}

Status FindGroup(const std::string& group_name, std::vector<char>* buffer, group* entry) {
  return Find(kLookUpGroup, buffer, entry, [&](group* out, char* data, size_t size, group** found) {
    return ::getgrnam_r(group_name.c_str(), out, data, size, found);
  });
}

std::vector<gid_t> SupplementaryGroups(const char* name, gid_t gid) {
  int count = 64;
  std::vector<gid_t> groups(static_cast<size_t>(count));
  if (::getgrouplist(name, gid, groups.data(), &count) < 0) {
    groups.resize(static_cast<size_t>(count));  // now it holds the number needed
    if (::getgrouplist(name, gid, groups.data(), &count) < 0) count = 0;
  }
  groups.resize(static_cast<size_t>(count));
  return groups;
}

bool IsAlready(const Identity& identity) {
  uid_t real, effective, saved;
  gid_t real_group, effective_group, saved_group;
  ::getresuid(&real, &effective, &saved);
  ::getresgid(&real_group, &effective_group, &saved_group);
  return real == identity.uid && effective == identity.uid && saved == identity.uid &&
         real_group == identity.gid && effective_group == identity.gid &&
         saved_group == identity.gid;
}

}  // namespace

Status HardenProcess(uint64_t* file_limit) {
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return Status::FromErrno("prctl");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Status::FromErrno("prctl");
  rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return Status::FromErrno("setrlimit");
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return Status::FromErrno("getrlimit");
  files.rlim_cur = files.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &files) != 0) return Status::FromErrno("setrlimit");
  *file_limit = files.rlim_cur;
  for (int signal : {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) ::signal(signal, SIG_IGN);
  return {};
}

Status ResolveIdentity(const std::string& user, const std::string& group_name, Identity* out) {
  std::vector<char> user_buffer, group_buffer;
  passwd entry{};
  Status status = FindUser(user, &user_buffer, &entry);
  std::optional<uint32_t> number = ParseId(user);
  // A number needs no entry, but then nobody knows its group.
  if (!status.ok() && !(number && status.error == ENOENT && !group_name.empty())) return status;
  out->uid = status.ok() ? entry.pw_uid : *number;
  out->gid = entry.pw_gid;
  if (!group_name.empty()) {
    struct group found {};
    if (std::optional<uint32_t> id = ParseId(group_name)) {
      out->gid = *id;
    } else if (Status missing = FindGroup(group_name, &group_buffer, &found); !missing.ok()) {
      return missing;
    } else {
      out->gid = found.gr_gid;
    }
  }
  out->groups =
      status.ok() ? SupplementaryGroups(entry.pw_name, out->gid) : std::vector<gid_t>{out->gid};
  return {};
}

Status DropPrivileges(const Identity& identity) {
  if (IsAlready(identity)) return {};
  if (::setgroups(identity.groups.size(), identity.groups.data()) != 0) {
    return Status::FromErrno("setgroups");
  }
  // The three-part calls also change the saved ids, whatever capabilities we have (setresuid(2)).
  if (::setresgid(identity.gid, identity.gid, identity.gid) != 0)
    return Status::FromErrno("setresgid");
  if (::setresuid(identity.uid, identity.uid, identity.uid) != 0)
    return Status::FromErrno("setresuid");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return Status::FromErrno("prctl");
  return {};
}

Status PidfdOpen(pid_t pid, UniqueFd* out) {
  // glibc has wrappers only from 2.36 on. The descriptor is close-on-exec.
  out->Reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  return out->valid() ? Status{} : Status::FromErrno("pidfd_open");
}

Status PidfdSignal(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return {};
  return Status::FromErrno("pidfd_send_signal");
}

}  // namespace ironsocket
