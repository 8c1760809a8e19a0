// SPDX-License-Identifier: MIT
// Memory that goes from one process to another as a memfd whose size nobody can change any more:
// without the seals whoever holds it could cut it under our feet (fcntl(2), "File Sealing"). Its
// bytes can still be written, because who has read secrets wipes them.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <span>
#include <utility>

#include "net/unique_fd.h"

namespace ironsocket {

inline constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;

// A memfd of `size` bytes, sealed in it and with `more_seals`. Every page is there: a later one
// that memory were short for would be a SIGBUS. `name` shows in /proc/PID/fd. 0 or -errno.
inline int MakeSealedMemfd(const char* name, size_t size, int more_seals, UniqueFd* out) {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return -errno;
  while (size > 0 && fallocate(fd.get(), 0, 0, static_cast<off_t>(size)) != 0) {
    if (errno != EINTR) return -errno;
  }
  if (fcntl(fd.get(), F_ADD_SEALS, kSizeSeals | more_seals) != 0) return -errno;
  *out = std::move(fd);
  return 0;
}

// All of the bytes at an offset of a file. 0 or -errno.
inline int WriteAt(int fd, std::span<const uint8_t> bytes, size_t offset) {
  while (!bytes.empty()) {
    const ssize_t part = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (part < 0 && errno == EINTR) continue;
    if (part <= 0) return part < 0 ? -errno : -ENOSPC;
    bytes = bytes.subspan(static_cast<size_t>(part));
    offset += static_cast<size_t>(part);
  }
  return 0;
}

// A whole memfd, mapped as long as this lives. The descriptor is borrowed and may be closed.
class SealedMapping {
 public:
  SealedMapping() = default;
  // `protection`: as for mmap(2).
  SealedMapping(int fd, int protection) {
    struct stat status;
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & kSizeSeals) != kSizeSeals || fstat(fd, &status) != 0) return;
    size_ = static_cast<size_t>(status.st_size);
    data_ = size_ == 0 ? MAP_FAILED : mmap(nullptr, size_, protection, MAP_SHARED, fd, 0);
    good_ = size_ == 0 || data_ != MAP_FAILED;
  }
  ~SealedMapping() {
    if (data_ != MAP_FAILED) munmap(data_, size_);
  }
  SealedMapping(SealedMapping&& other) noexcept
      : data_(std::exchange(other.data_, MAP_FAILED)),
        size_(std::exchange(other.size_, 0)),
        good_(std::exchange(other.good_, false)) {}
  SealedMapping& operator=(SealedMapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(good_, other.good_);
    return *this;
  }

  // False: no memfd with those seals, or it can't be mapped.
  bool good() const { return good_; }
  // None of an empty one.
  std::span<uint8_t> bytes() const {
    if (data_ == MAP_FAILED) return {};
    return {static_cast<uint8_t*>(data_), size_};
  }

 private:
  void* data_ = MAP_FAILED;
  size_t size_ = 0;
  bool good_ = false;
};

}  // namespace ironsocket
