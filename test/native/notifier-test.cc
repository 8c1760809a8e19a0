// SPDX-License-Identifier: MIT
// The socket of a service manager that reads late, or is none.
// Without ThreadSanitizer: there is one thread.
#include "keeper/notifier.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <utility>

namespace ironsocket {
namespace {

constexpr std::string_view kName = "@ironsocket-notifier-test";

// Reads without waiting; empty: nothing is there.
std::string Read(const UniqueFd& manager) {
  char text[256];
  const ssize_t length = ::recv(manager.get(), text, sizeof(text), MSG_DONTWAIT);
  return length < 0 ? "" : std::string(text, length);
}

UniqueFd Listen() {
  UniqueFd manager(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, kName.data() + 1, kName.size() - 1);
  const socklen_t length = offsetof(sockaddr_un, sun_path) + kName.size();
  REQUIRE(::bind(manager.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
  return manager;
}

struct Environment {
  explicit Environment(const char* socket) { ::setenv("NOTIFY_SOCKET", socket, 1); }
  ~Environment() {
    for (const char* name : kManagerVariables) ::unsetenv(name);
  }
};

TEST_CASE("what the manager has no room for waits, goes to the next keeper, and arrives in order") {
  Environment environment(kName.data());
  UniqueFd manager = Listen();
  Notifier first({});
  CHECK_FALSE(first.due_at());
  size_t sent = 0;
  while (first.waiting().size() < 3) first.Send(std::to_string(sent++));
  CHECK(first.due_at());
  CHECK(first.TakeFailure()->error == EAGAIN);
  Notifier second(first.waiting());
  for (size_t i = 0; i < sent; ++i) {
    std::string text = Read(manager);
    if (text.empty()) {
      second.Tick();
      text = Read(manager);
    }
    REQUIRE(text == std::to_string(i));
  }
  CHECK(second.waiting().empty());
  CHECK_FALSE(second.due_at());
}

TEST_CASE("a manager that never reads costs a bounded number of messages, and is told of once") {
  Environment environment(kName.data());
  UniqueFd manager = Listen();
  Notifier notifier({});
  for (int i = 0; i < 10'000; ++i) notifier.Send("STATUS=again");
  CHECK(notifier.waiting().size() == Notifier::kMaxWaiting);
  CHECK(notifier.TakeFailure());
  notifier.Send("STATUS=again");
  CHECK_FALSE(notifier.TakeFailure());
}

TEST_CASE("the keep-alive comes twice in its interval, and not behind what waits") {
  Environment environment(kName.data());
  ::setenv("WATCHDOG_USEC", "3600000000", 1);
  UniqueFd manager = Listen();
  Notifier notifier({});
  notifier.Tick();
  notifier.Tick();
  CHECK(Read(manager) == "WATCHDOG=1");
  CHECK(Read(manager).empty());
  CHECK(notifier.due_at());
  Notifier late({"READY=1"});
  late.Tick();
  CHECK(Read(manager) == "READY=1");
  CHECK(Read(manager) == "WATCHDOG=1");
}

TEST_CASE("no address, or none of a unix socket: nothing is sent") {
  Environment environment("");
  Notifier silent({});
  silent.Send("READY=1");
  CHECK(silent.waiting().empty());
  CHECK_FALSE(silent.TakeFailure());
  for (const std::string& bad :
       {std::string("vsock:2:1"), std::string("/"), std::string(200, '/')}) {
    CAPTURE(bad);
    ::setenv("NOTIFY_SOCKET", bad.c_str(), 1);
    Notifier notifier({});
    notifier.Send("READY=1");
    CHECK(notifier.TakeFailure()->error == EAFNOSUPPORT);
    CHECK_FALSE(notifier.due_at());
  }
}

}  // namespace
}  // namespace ironsocket
