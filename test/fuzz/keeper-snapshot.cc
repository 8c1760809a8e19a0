// SPDX-License-Identifier: MIT
// What another version of the keeper left behind. Whatever is understood says the same when it is
// written and read again. Numbers of descriptors are moved to where there are none: they would be
// taken, and closed.
#include <string>

#include "keeper/snapshot.h"
#include "require.h"

using namespace ironsocket;

namespace {

// "channel 7" becomes "channel 1000007": no process has so many.
std::string Harmless(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = std::min(text.find('\0'), text.size());
    std::string field(text.substr(0, length));
    text.remove_prefix(std::min(length + 1, text.size()));
    for (const std::string_view name : {"channel ", "held "}) {
      if (field.starts_with(name)) field.insert(name.size(), "100000");
    }
    out.append(field).push_back('\0');
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::string text = Harmless({reinterpret_cast<const char*>(bytes), size});
  Snapshot first;
  if (!DecodeSnapshot(text, &first)) return 0;
  Require(!first.masters.empty() && !first.masters.front().command.empty());
  const std::string written = EncodeSnapshot(first);
  Snapshot second;
  Require(DecodeSnapshot(written, &second) && EncodeSnapshot(second) == written);
  return 0;
}
