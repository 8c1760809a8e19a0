// SPDX-License-Identifier: MIT
// What a keeper tells the keeper that it becomes.
// Without ThreadSanitizer: there is one thread.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <string>

#include "keeper/snapshot.h"

namespace ironsocket {
namespace {

// A descriptor of our own, because a decoded snapshot takes those that it names.
UniqueFd Null() { return UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)); }

Snapshot Full() {
  Snapshot snapshot;
  snapshot.generation = 7;
  snapshot.terminations = 1;
  snapshot.exit_code = 3;
  snapshot.leave_at = 123456789012;
  snapshot.notices = {"READY=1\nSTATUS=two lines", "WATCHDOG=1"};
  Master& leaving = snapshot.masters.emplace_back();
  leaving.role = Role::kLeaving;
  leaving.command = {"/bin/program", "", "two words\nand a line"};
  leaving.pid = 42;
  leaving.ready = leaving.ever_ready = true;
  leaving.starts = 2;
  leaving.started_at = 1000;
  leaving.delay = 100;
  leaving.end_by = 2000;
  leaving.held["state"] = Null();
  leaving.held["a name with = and spaces"] = Null();
  Master& serving = snapshot.masters.emplace_back();
  serving.keeper = "/path/keeper";
  serving.command = {"/bin/next"};
  serving.start_at = 99;
  serving.waiting_signals = {{1, 5}, {15, 0}};
  return snapshot;
}

// As execve(2) does it: the encoder's descriptors live on, nobody closes them.
void Forget(Snapshot* snapshot) {
  for (Master& master : snapshot->masters) {
    for (auto& [name, fd] : master.held) (void)fd.Release();
  }
}

TEST_CASE("a snapshot comes back as it was") {
  Snapshot before = Full();
  const std::string text = EncodeSnapshot(before);
  const int state_fd = before.masters.front().held["state"].get();
  Forget(&before);
  Snapshot after;
  REQUIRE(DecodeSnapshot(text, &after));
  CHECK(EncodeSnapshot(after) == text);
  REQUIRE(after.masters.size() == 2);
  const Master& leaving = after.masters.front();
  CHECK(leaving.role == Role::kLeaving);
  CHECK(leaving.command == std::vector<std::string>{"/bin/program", "", "two words\nand a line"});
  CHECK(leaving.held.at("state").get() == state_fd);
  CHECK(leaving.end_by == 2000);
  CHECK_FALSE(after.masters.back().end_by.has_value());
  CHECK(after.masters.back().waiting_signals.size() == 2);
  CHECK(*after.leave_at == 123456789012);
  CHECK(after.notices == before.notices);
}

TEST_CASE("fields that are not known are skipped, another version is refused") {
  const Snapshot full = Full();
  std::string other = EncodeSnapshot(full);
  other.replace(other.find(" 1"), 2, " 2");
  Snapshot refused;
  CHECK_FALSE(DecodeSnapshot(other, &refused));
  CHECK_FALSE(DecodeSnapshot("", &refused));
  CHECK_FALSE(DecodeSnapshot("something else", &refused));
  CHECK_FALSE(DecodeSnapshot(std::string("ironsocket-keeper 1\0", 20), &refused));
  CHECK(refused.masters.empty());
  Snapshot plain;
  plain.masters.emplace_back().command = {"/bin/true"};
  std::string strange = EncodeSnapshot(plain);
  strange.append("colour blue").push_back('\0');
  Snapshot after;
  CHECK(DecodeSnapshot(strange, &after));
  CHECK(after.masters.size() == 1);
}

TEST_CASE("bad numbers, roles and descriptors are refused") {
  const std::string start("ironsocket-keeper 1\0", 20);
  const std::string master("master serving 1 1 1 1 1 1 1 -1\0word x\0", 39);
  const auto decodes = [](const std::string& text) {
    Snapshot out;
    return DecodeSnapshot(text, &out);
  };
  CHECK(decodes(start + master));
  for (std::string bad : {"held x state", "held -1 state", "channel", "signal 1", "master ruling 1",
                          "master serving 1 1 1", "generation one", "exit 99999999999999"}) {
    CAPTURE(bad);
    CHECK_FALSE(decodes(start + master + bad + '\0'));
  }
}

}  // namespace
}  // namespace ironsocket
