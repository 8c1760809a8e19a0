// SPDX-License-Identifier: MIT
// Small sealed files in memory (memfd_create(2)): how PEM and ticket keys travel between processes.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/unique_fd.h"

namespace ironsocket {

// Bytes that may be secret: cleansed before their memory is given back. Never grows after it was
// made.
class SecretBytes {
 public:
  explicit SecretBytes(size_t size) : bytes_(size) {}
  SecretBytes(SecretBytes&&) = default;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes();

  char* data() { return bytes_.data(); }
  std::span<const char> view() const { return std::span(bytes_).first(size_); }
  size_t capacity() const { return bytes_.size(); }
  // How many of the bytes are in use; 0 at first.
  void set_size(size_t size) { size_ = size; }

 private:
  std::vector<char> bytes_;
  size_t size_ = 0;
};

// A new memfd with these bytes and `seals` (F_SEAL_*, fcntl(2)) on it. Invalid with errno set on
// failure.
UniqueFd MakeMemoryFile(const char* name, std::span<const char> bytes, int seals);

// Reads up to `limit` bytes from offset 0, the position of the borrowed descriptor stays. nullopt
// with errno set; EFBIG when there is more.
std::optional<SecretBytes> ReadWhole(int fd, size_t limit);

}  // namespace ironsocket
