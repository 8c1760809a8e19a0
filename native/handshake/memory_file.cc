// SPDX-License-Identifier: MIT
#include "handshake/memory_file.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

namespace ironsocket {

SecretBytes::~SecretBytes() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

UniqueFd MakeMemoryFile(const char* name, std::span<const char> bytes, int seals) {
  UniqueFd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return fd;
  for (size_t done = 0; done < bytes.size();) {
    ssize_t length =
        pwrite(fd.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return UniqueFd();
    done += static_cast<size_t>(length);
  }
  if (fcntl(fd.get(), F_ADD_SEALS, seals) != 0) return UniqueFd();
  return fd;
}

std::optional<SecretBytes> ReadWhole(int fd, size_t limit) {
  struct stat status;
  if (fstat(fd, &status) != 0) return std::nullopt;
  // One byte more than is allowed: a file that grows meanwhile is noticed.
  size_t expected = static_cast<size_t>(status.st_size);
  SecretBytes bytes((expected < limit ? expected : limit) + 1);
  size_t size = 0;
  while (size < bytes.capacity()) {
    ssize_t length =
        pread(fd, bytes.data() + size, bytes.capacity() - size, static_cast<off_t>(size));
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return std::nullopt;
    if (length == 0) break;
    size += static_cast<size_t>(length);
  }
  if (size == bytes.capacity()) {
    errno = EFBIG;
    return std::nullopt;
  }
  bytes.set_size(size);
  return bytes;
}

}  // namespace ironsocket
