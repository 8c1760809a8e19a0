// SPDX-License-Identifier: MIT
// What a process does to itself and to its children: hardening, privileges, pidfds. Called by the
// JavaScript thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "control/status.h"
#include "net/unique_fd.h"

namespace ironsocket {

// Makes the process unreadable for others of its user (PR_SET_DUMPABLE 0, no core file), forbids it
// and its children new privileges by execve (PR_SET_NO_NEW_PRIVS), raises the soft file limit to
// the hard one, which comes out in `*file_limit`, and ignores HUP, INT, TERM, USR1 and USR2:
// signals come as messages from the keeper, also where a supervisor sends them to the whole group.
// Call it first in the process: threads that run already keep their own no_new_privs.
Status HardenProcess(uint64_t* file_limit);

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary
};

inline constexpr char kLookUpUser[] = "getpwnam";
inline constexpr char kLookUpGroup[] = "getgrnam";

// Resolves a user and a group, by name or number; an empty group is the user's own. Asks NSS and
// may block. ENOENT with syscall kLookUpUser or kLookUpGroup: there is none.
Status ResolveIdentity(const std::string& user, const std::string& group, Identity* out);

// setgroups, setgid, setuid of every thread (glibc carries them over, nptl(7)), then
// PR_SET_DUMPABLE 0 again, because the change of identity resets it (prctl(2)). There is no way
// back. Does nothing when we are `identity` already.
Status DropPrivileges(const Identity& identity);

// pidfd_open(2), pidfd_send_signal(2).
Status PidfdOpen(pid_t pid, UniqueFd* out);
Status PidfdSignal(int pidfd, int signal);

}  // namespace ironsocket
