// SPDX-License-Identifier: MIT
// The bytes of logfmt: `key=value` with values that can't leave their field, whatever a peer put
// into them. Pure functions; they write into the caller's buffer and never past its end.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string_view>

namespace ironsocket {

// Length of what FormatTimestamp() writes.
inline constexpr size_t kTimestampLength = 27;

// RFC 3339 in UTC with microseconds: "2026-01-02T03:04:05.000678Z". Takes no lock (gmtime_r(3)
// takes the time zone's). Years 0 to 9999.
void FormatTimestamp(std::chrono::system_clock::time_point time,
                     std::span<char, kTimestampLength> out);

// Copies a key; bytes other than letters, digits, `_`, `-` and `.` become `_`. Returns the length;
// 0 when it does not fit.
size_t FormatKey(std::string_view key, std::span<char> out);

// Copies a value, in double quotes unless it is plain (printable ASCII without space, quote,
// backslash or equals sign). Inside quotes: \" \\ \n \r \t; \uNNNN for other control characters, C1
// (a terminal may obey U+009B like ESC [), line separators and the invisible characters that
// reorder text; \xNN for bytes that are not UTF-8 (RFC 3629). What does not fit is left out between
// two characters and sets `*cut`; a quoted value is always closed. `out` has room for at least two
// bytes. Returns the length.
size_t FormatValue(std::string_view value, std::span<char> out, bool* cut);

}  // namespace ironsocket
