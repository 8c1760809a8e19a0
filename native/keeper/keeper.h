// SPDX-License-Identifier: MIT
// The keeper's work, by file:
//   keeper.cc     its loop: what is started, waited for and killed
//   signals.cc    what arrives as a signal
//   protocol.cc   what masters say
//   upgrade.cc    the candidate, the commit
//   successor.cc  execve in place
//   endings.cc    masters that end, and the end of the service
//   words.cc      what it says to masters, to the service manager and to the log
//
// Messages on a channel are one line of text each, with at most one descriptor:
//   to a master       hello 1 GENERATION START ROLE   first; START counts the masters started for
//                                   this one's place, from 0; a candidate has the next GENERATION
//                     have NAME     with its descriptor, for everything that is held for it;
//                     then `go`     signal NUMBER PID          PID: who sent it, 0 for the kernel
//                     exited PID STATUS                a child was reaped (wait(2) status)
//                     role ROLE     it has changed: serving or leaving
//                     keeper replaced, keeper kept REASON      what became of the execve that
//                                   follows a commit
//   from a master     put NAME      with a descriptor; replaces what had the name
//                     drop NAME
//                     ready         from now on a master that dies is started again
//                     exit CODE     all is done; the serving one's CODE is the service's
//                     state serving TEXT, state reloading TEXT, state draining MILLISECONDS
//                                   how the service fares, which the service manager is told
//                                   (keeper/notifier.h); only the serving master is listened to
//
// An upgrade begins with a second master, the candidate. The serving one says
//                     candidate KEEPER\0PROGRAM\0ARGUMENT...   may come with a descriptor, which
//                                   the candidate gets as `peer`, with duplicates of all that is
//                                   held for us but `worker:*`
//                     commit        the candidate, which must have said `ready`, serves; we leave
//                     abort         the candidate is ended
// and is told         candidate PID
//                     candidate-ready
//                     candidate-ended REASON           also as the answer to a commit in vain
// A serving master that dies takes its candidate with it. After a commit the keeper becomes KEEPER
// by execve(2), with the same PID; where that fails it goes on as it is.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/status.h"
#include "keeper/master.h"
#include "keeper/notifier.h"
#include "keeper/say.h"
#include "keeper/snapshot.h"
#include "net/unique_fd.h"

namespace ironsocket {

// Used by one thread. Begin() or Resume() first, then Run().
class Keeper {
 public:
  // Takes the sockets that systemd has passed, and closes every other descriptor above 2.
  // `command`: program and arguments of the master, with a null pointer at the end.
  void Begin(char** command);
  // Takes the descriptor. False: no snapshot, or one of a version that we don't know.
  bool Resume(int snapshot_fd);
  // Until the service has ended; gives its exit code.
  int Run();

 private:
  friend class KeeperUnderTest;  // test/fuzz/keeper-message.cc: what masters say, without processes

  static constexpr int64_t kLeaveLimit = 1'000;  // ms for a master, after `exit` or the second TERM

  // keeper.cc
  void Prepare();
  Master* Find(Role role);
  void Start(Master* master);
  void Introduce(Master* master);
  bool Finished();
  void KillWhatHangs();
  int TimeoutMs();
  void WaitForEvents();

  // signals.cc
  void OnSignal(int signal, pid_t sender);
  void OnTermination(int signal, pid_t sender);
  void Deliver(Master* master, int signal, pid_t sender);
  void Reap();

  // protocol.cc
  void ReadMessages(Master* master);
  void OnMessage(Master* master, const std::string& message, std::vector<UniqueFd> fds);
  void OnExit(Master* master, int code);
  void OnState(const Master& master, const std::string& state);

  // upgrade.cc
  void AddCandidate(Master* serving, std::string_view words, std::vector<UniqueFd> fds);
  void Commit(Master* serving);
  void EndCandidate(const std::string& reason);
  void RemoveCandidate(const Master* candidate, const std::string& reason);

  // endings.cc
  void OnMasterEnd(Master* master, int status);
  void ScheduleStart(Master* master, const std::string& reason);
  void Remove(const Master* master);
  void Leave(int code, int64_t limit);
  void KillAndReapAll();

  // successor.cc
  void BecomeNext();
  Status Execute(const std::string& program);

  // words.cc
  void Tell(Master* master, const std::string& message);
  void TellWhatWaits();
  void GoOnIntroducing(Master* master);
  void ComplainOfMaster(const Status& status);
  void Notify(std::string lines);
  void ComplainOfManager();
  void Complain(std::string_view level, std::initializer_list<LogField> fields);
  int LogFd();

  Snapshot state_;
  UniqueFd signals_;
  std::optional<Notifier> notifier_;
  bool becomes_next_ = false;    // after a commit
  std::string candidate_ended_;  // not empty: why the candidate is being killed
};

}  // namespace ironsocket
