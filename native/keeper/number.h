// SPDX-License-Identifier: MIT
// Numbers in what masters and command lines say.
#pragma once

#include <charconv>
#include <string_view>

namespace ironsocket {

// `fallback`: `text` is not a whole number, or too large.
inline int ToNumber(std::string_view text, int fallback) {
  int number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : fallback;
}

}  // namespace ironsocket
