// SPDX-License-Identifier: MIT
// Whatever stands in LISTEN_FDNAMES: every socket has a name, no two the same, and the first of a
// name is called as systemd calls it.
#include <set>

#include "net/systemd_sockets.h"
#include "require.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  const auto names = ironsocket::SystemdSocketNames(text, bytes[0]);
  Require(names.size() == bytes[0]);
  Require(std::set(names.begin(), names.end()).size() == names.size());
  std::string_view rest = text;
  std::set<std::string_view> seen;
  for (const std::string& name : names) {
    const std::string_view given = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), given.size() + 1));
    const std::string_view wanted = given.empty() ? "unknown" : given;
    Require(name.starts_with(wanted) && (name == wanted) == seen.insert(wanted).second);
  }
  return 0;
}
