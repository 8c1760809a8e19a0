// SPDX-License-Identifier: MIT
#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "keeper/keeper.h"

namespace ironsocket {

void Keeper::AddCandidate(Master* serving, std::string_view words, std::vector<UniqueFd> fds) {
  if (Find(Role::kCandidate) != nullptr || state_.exit_code || state_.terminations > 0) {
    return Tell(serving, "candidate-ended there is another one, or the service ends");
  }
  Master candidate;
  candidate.role = Role::kCandidate;
  for (bool first = true; !words.empty(); first = false) {
    const size_t length = std::min(words.find('\0'), words.size());
    const std::string word(words.substr(0, length));
    words.remove_prefix(std::min(length + 1, words.size()));
    if (first) candidate.keeper = word;
    if (!first) candidate.command.push_back(word);
  }
  if (candidate.command.empty()) return Tell(serving, "candidate-ended no program was named");
  for (const auto& [name, fd] : serving->held) {
    if (name.starts_with("worker:") || name == "peer") continue;
    UniqueFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
    if (!copy.valid()) {
      return Tell(serving, "candidate-ended " + Describe(Status::FromErrno("fcntl")));
    }
    candidate.held[name] = std::move(copy);
  }
  if (fds.size() == 1) candidate.held["peer"] = std::move(fds[0]);
  if (Status status = StartMaster(&candidate); !status.ok()) {
    return Tell(serving, "candidate-ended " + Describe(status));
  }
  candidate_ended_ = "";
  Tell(serving, "candidate " + std::to_string(candidate.pid));
  Introduce(&state_.masters.emplace_back(std::move(candidate)));
}

void Keeper::Commit(Master* serving) {
  Master* candidate = Find(Role::kCandidate);
  if (candidate == nullptr) return Tell(serving, "candidate-ended before the commit");
  // One that is being ended, or not ready: its end is told when it is reaped.
  if (!candidate_ended_.empty()) return;
  if (!candidate->ready) return EndCandidate("it was not ready");
  if (candidate->end_by) return EndCandidate("it was ending");
  serving->role = Role::kLeaving;
  candidate->role = Role::kServing;
  state_.generation += 1;
  Tell(candidate, "role serving");
  Tell(serving, "role leaving");
  becomes_next_ = true;
}

// It is removed when it has been reaped.
void Keeper::EndCandidate(const std::string& reason) {
  Master* candidate = Find(Role::kCandidate);
  if (candidate == nullptr || !candidate_ended_.empty()) return;
  candidate_ended_ = reason;
  KillMaster(*candidate);
}

void Keeper::RemoveCandidate(const Master* candidate, const std::string& reason) {
  KillMaster(*candidate);
  const std::string why = candidate_ended_.empty() ? reason : candidate_ended_;
  Remove(candidate);
  if (Master* serving = Find(Role::kServing)) Tell(serving, "candidate-ended " + why);
}

}  // namespace ironsocket
