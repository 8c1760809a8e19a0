// SPDX-License-Identifier: MIT
// Whatever a peer sends as a name: the value stays in its field, and comes back as it was where it
// was not cut.
#include "log/logfmt.h"

#include <cstdint>
#include <string>

#include "../native/logfmt-parser.h"
#include "require.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  std::string value(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  std::string out(2 + bytes[0], '#');
  bool cut = false;
  size_t length = ironsocket::FormatValue(value, out, &cut);
  Require(length <= out.size());
  std::string line = "key=" + out.substr(0, length);
  for (unsigned char byte : line) {
    Require(byte >= 0x20 && byte != 0x7f);
  }
  auto fields = logfmt::Parse(line);
  Require(fields && fields->size() == 1);
  Require(cut || (*fields)[0].second == value);
  Require(!cut || value.starts_with((*fields)[0].second));
  return 0;
}
