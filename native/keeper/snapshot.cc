// SPDX-License-Identifier: MIT
#include "keeper/snapshot.h"

#include <algorithm>
#include <charconv>
#include <iterator>

namespace ironsocket {
namespace {

constexpr std::string_view kMagic = "ironsocket-keeper";
constexpr Role kRoles[] = {Role::kServing, Role::kCandidate, Role::kLeaving};

void AddField(std::string* out, std::string_view name, std::string_view value) {
  out->append(name).append(" ").append(value).push_back('\0');
}

void AddMaster(std::string* out, const Master& master) {
  std::string row(NameOf(master.role));
  const int64_t numbers[] = {
      master.pid,        master.ready,    master.ever_ready, master.starts,
      master.started_at, master.start_at, master.delay,      master.end_by.value_or(-1)};
  for (int64_t number : numbers) row += " " + std::to_string(number);
  AddField(out, "master", row);
  AddField(out, "keeper", master.keeper);
  for (const std::string& word : master.command) AddField(out, "word", word);
  if (master.channel) AddField(out, "channel", std::to_string(master.channel->fd()));
  for (const auto& [name, fd] : master.held) {
    AddField(out, "held", std::to_string(fd.get()) + " " + name);
  }
  for (const auto& [signal, sender] : master.waiting_signals) {
    AddField(out, "signal", std::to_string(signal) + " " + std::to_string(sender));
  }
}

// Takes what stands before the first `end` off `*text`.
std::string_view Take(std::string_view* text, char end) {
  const size_t length = std::min(text->find(end), text->size());
  const std::string_view taken = text->substr(0, length);
  text->remove_prefix(std::min(length + 1, text->size()));
  return taken;
}

template <typename Number>
bool TakeNumber(std::string_view* text, Number* out) {
  const std::string_view word = Take(text, ' ');
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), *out);
  return error == std::errc() && end == word.data() + word.size();
}

bool TakeMaster(std::string_view text, Master* out) {
  const std::string_view name = Take(&text, ' ');
  const auto* role = std::find_if(std::begin(kRoles), std::end(kRoles),
                                  [&](Role each) { return NameOf(each) == name; });
  int ready = 0, ever_ready = 0;
  int64_t end_by = -1;
  if (role == std::end(kRoles) || !TakeNumber(&text, &out->pid) || !TakeNumber(&text, &ready) ||
      !TakeNumber(&text, &ever_ready) || !TakeNumber(&text, &out->starts) ||
      !TakeNumber(&text, &out->started_at) || !TakeNumber(&text, &out->start_at) ||
      !TakeNumber(&text, &out->delay) || !TakeNumber(&text, &end_by)) {
    return false;
  }
  out->role = *role;
  out->ready = ready != 0;
  out->ever_ready = ever_ready != 0;
  if (end_by >= 0) out->end_by = end_by;
  return true;
}

bool TakeFieldOfMaster(std::string_view name, std::string_view value, Master* master) {
  int number = -1;
  if (name == "keeper") {
    master->keeper = value;
  } else if (name == "word") {
    master->command.emplace_back(value);
  } else if (name == "channel") {
    if (!TakeNumber(&value, &number) || number < 0) return false;
    master->channel.emplace(UniqueFd(number));
  } else if (name == "held") {
    if (!TakeNumber(&value, &number) || number < 0) return false;
    master->held[std::string(value)] = UniqueFd(number);
  } else if (name == "signal") {
    pid_t sender = 0;
    if (!TakeNumber(&value, &number) || !TakeNumber(&value, &sender)) return false;
    master->waiting_signals.emplace_back(number, sender);
  }
  return true;
}

bool TakeField(std::string_view name, std::string_view value, Snapshot* out) {
  if (name == "generation") return TakeNumber(&value, &out->generation);
  if (name == "terminations") return TakeNumber(&value, &out->terminations);
  if (name == "exit") return TakeNumber(&value, &out->exit_code.emplace());
  if (name == "leave") return TakeNumber(&value, &out->leave_at.emplace());
  if (name == "notice") {
    out->notices.emplace_back(value);
    return true;
  }
  if (name == "master") return TakeMaster(value, &out->masters.emplace_back());
  return out->masters.empty() || TakeFieldOfMaster(name, value, &out->masters.back());
}

}  // namespace

std::string EncodeSnapshot(const Snapshot& snapshot) {
  std::string out;
  AddField(&out, kMagic, std::to_string(kSnapshotVersion));
  AddField(&out, "generation", std::to_string(snapshot.generation));
  AddField(&out, "terminations", std::to_string(snapshot.terminations));
  if (snapshot.exit_code) AddField(&out, "exit", std::to_string(*snapshot.exit_code));
  if (snapshot.leave_at) AddField(&out, "leave", std::to_string(*snapshot.leave_at));
  for (const std::string& notice : snapshot.notices) AddField(&out, "notice", notice);
  for (const Master& master : snapshot.masters) AddMaster(&out, master);
  return out;
}

bool DecodeSnapshot(std::string_view text, Snapshot* out) {
  std::string_view first = Take(&text, '\0');
  int version = 0;
  bool good =
      Take(&first, ' ') == kMagic && TakeNumber(&first, &version) && version == kSnapshotVersion;
  while (good && !text.empty()) {
    std::string_view value = Take(&text, '\0');
    const std::string_view name = Take(&value, ' ');
    good = TakeField(name, value, out);
  }
  for (const Master& master : out->masters) good = good && !master.command.empty();
  return good && !out->masters.empty();
}

}  // namespace ironsocket
