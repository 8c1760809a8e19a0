// SPDX-License-Identifier: MIT
// A strict reader of our own log lines, written from the description in log/logfmt.h and not from
// its code.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using Fields = std::vector<std::pair<std::string, std::string>>;

namespace logfmt {

inline void AppendUtf8(unsigned point, std::string* out) {
  if (point < 0x80) {
    *out += static_cast<char>(point);
  } else if (point < 0x800) {
    *out += static_cast<char>(0xc0 | point >> 6);
    *out += static_cast<char>(0x80 | (point & 0x3f));
  } else {
    *out += static_cast<char>(0xe0 | point >> 12);
    *out += static_cast<char>(0x80 | (point >> 6 & 0x3f));
    *out += static_cast<char>(0x80 | (point & 0x3f));
  }
}

// Takes one quoted value, its quotes included, off the front of `*text`.
inline bool TakeQuoted(std::string_view* text, std::string* out) {
  text->remove_prefix(1);
  while (!text->empty() && text->front() != '"') {
    if (text->front() != '\\') {
      *out += text->front();
      text->remove_prefix(1);
      continue;
    }
    if (text->size() < 2) return false;
    char kind = (*text)[1];
    text->remove_prefix(2);
    size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 0;
    if (digits > text->size()) return false;
    if (digits > 0) {
      unsigned number =
          static_cast<unsigned>(std::stoul(std::string(text->substr(0, digits)), nullptr, 16));
      text->remove_prefix(digits);
      if (kind == 'x') {
        *out += static_cast<char>(number);
      } else {
        AppendUtf8(number, out);
      }
      continue;
    }
    if (kind != 'n' && kind != 'r' && kind != 't' && kind != '"' && kind != '\\') return false;
    *out += kind == 'n' ? '\n' : kind == 'r' ? '\r' : kind == 't' ? '\t' : kind;
  }
  if (text->empty()) return false;
  text->remove_prefix(1);
  return true;
}

// The fields of one line without its newline; nullopt when it is no logfmt.
inline std::optional<Fields> Parse(std::string_view line) {
  Fields fields;
  while (!line.empty()) {
    size_t equals = line.find('=');
    if (equals == line.npos || equals == 0) return std::nullopt;
    std::string key(line.substr(0, equals)), value;
    if (key.find_first_of(" \"") != key.npos) return std::nullopt;
    line.remove_prefix(equals + 1);
    if (line.starts_with('"')) {
      if (!TakeQuoted(&line, &value)) return std::nullopt;
    } else {
      value = line.substr(0, line.find(' '));
      line.remove_prefix(value.size());
      if (value.find_first_of("\"=\\") != value.npos) return std::nullopt;
    }
    fields.emplace_back(key, value);
    if (line.empty()) break;
    if (line.front() != ' ' || line.size() == 1) return std::nullopt;
    line.remove_prefix(1);
  }
  return fields;
}

inline std::string Value(const Fields& fields, std::string_view key) {
  for (const auto& [name, value] : fields) {
    if (name == key) return value;
  }
  return "(no field)";
}

}  // namespace logfmt
