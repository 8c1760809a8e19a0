// SPDX-License-Identifier: MIT
#include "log/logfmt.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace ironsocket {
namespace {

constexpr char kHex[] = "0123456789abcdef";

// Tables, because a line has hundreds of bytes.
using ByteSet = std::array<bool, 256>;

constexpr ByteSet kPlain = [] {
  ByteSet set{};
  for (int byte = 0x21; byte < 0x7f; ++byte) set[byte] = byte != '"' && byte != '\\' && byte != '=';
  return set;
}();

constexpr ByteSet kKeyBytes = [] {
  ByteSet set{};
  for (int byte = 0; byte < 256; ++byte) {
    set[byte] = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                (byte >= '0' && byte <= '9') || byte == '_' || byte == '-' || byte == '.';
  }
  return set;
}();

bool IsPlain(unsigned char byte) { return kPlain[byte]; }

bool IsKeyByte(unsigned char byte) { return kKeyBytes[byte]; }

// Characters that end lines or change how others are shown, beyond ASCII: C1, Unicode categories
// Zl, Zp and the Cf characters of general punctuation (Unicode TR 36 section 2).
bool IsUnsafe(uint32_t point) {
  return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0xad || point == 0x61c ||
         (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
         (point >= 0x2060 && point <= 0x206f) || point == 0xfeff;
}

struct Character {
  uint32_t point;
  size_t length;  // 0: the first byte does not start a character
};

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. `text` is not empty.
Character Decode(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return {first, 0};
  uint32_t point = first & (0xff >> (length + 1));
  for (size_t i = 1; i < length; i++) {
    if ((byte(i) & 0xc0) != 0x80) return {first, 0};
    point = point << 6 | (byte(i) & 0x3f);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  bool surrogate = point >= 0xd800 && point <= 0xdfff;
  if (point < kSmallest[length] || surrogate || point > 0x10ffff) return {first, 0};
  return {point, length};
}

struct Escaped {
  char bytes[6];
  size_t length = 0;
  void Put(char byte) { bytes[length++] = byte; }
};

// One character as it stands between quotes; takes it off the front of `*text`.
Escaped EscapeNext(std::string_view* text) {
  Character character = Decode(*text);
  Escaped out;
  if (character.length == 0) {
    out.Put('\\'), out.Put('x');
    for (int shift = 4; shift >= 0; shift -= 4) out.Put(kHex[character.point >> shift & 15]);
  } else if (character.point == '"' || character.point == '\\') {
    out.Put('\\'), out.Put(static_cast<char>(character.point));
  } else if (character.point == '\n' || character.point == '\r' || character.point == '\t') {
    out.Put('\\'), out.Put(character.point == '\n' ? 'n' : character.point == '\r' ? 'r' : 't');
  } else if (IsUnsafe(character.point)) {
    out.Put('\\'), out.Put('u');
    for (int shift = 12; shift >= 0; shift -= 4) out.Put(kHex[character.point >> shift & 15]);
  } else {
    out.length = text->copy(out.bytes, character.length);
  }
  text->remove_prefix(std::max<size_t>(character.length, 1));
  return out;
}

void PutNumber(unsigned value, int digits, char* out) {
  for (int i = digits - 1; i >= 0; i--, value /= 10) out[i] = static_cast<char>('0' + value % 10);
}

}  // namespace

void FormatTimestamp(std::chrono::system_clock::time_point time,
                     std::span<char, kTimestampLength> out) {
  using namespace std::chrono;
  auto day = floor<days>(time);
  year_month_day date(day);
  hh_mm_ss<microseconds> clock(floor<microseconds>(time - day));
  std::memcpy(out.data(), "0000-00-00T00:00:00.000000Z", kTimestampLength);
  PutNumber(static_cast<unsigned>(static_cast<int>(date.year())), 4, &out[0]);
  PutNumber(static_cast<unsigned>(date.month()), 2, &out[5]);
  PutNumber(static_cast<unsigned>(date.day()), 2, &out[8]);
  PutNumber(static_cast<unsigned>(clock.hours().count()), 2, &out[11]);
  PutNumber(static_cast<unsigned>(clock.minutes().count()), 2, &out[14]);
  PutNumber(static_cast<unsigned>(clock.seconds().count()), 2, &out[17]);
  PutNumber(static_cast<unsigned>(clock.subseconds().count()), 6, &out[20]);
}

size_t FormatKey(std::string_view key, std::span<char> out) {
  if (key.size() > out.size()) return 0;
  std::transform(key.begin(), key.end(), out.begin(), [](unsigned char byte) {
    return IsKeyByte(byte) ? static_cast<char>(byte) : '_';
  });
  return key.size();
}

size_t FormatValue(std::string_view value, std::span<char> out, bool* cut) {
  if (!value.empty() && std::all_of(value.begin(), value.end(), IsPlain)) {
    size_t length = value.copy(out.data(), out.size());
    if (length < value.size()) *cut = true;
    return length;
  }
  size_t length = 0;
  out[length++] = '"';
  while (!value.empty()) {
    Escaped next = EscapeNext(&value);
    if (length + next.length + 1 > out.size()) {
      *cut = true;
      break;
    }
    std::memcpy(&out[length], next.bytes, next.length);
    length += next.length;
  }
  out[length++] = '"';
  return length;
}

}  // namespace ironsocket
