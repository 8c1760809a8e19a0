// SPDX-License-Identifier: MIT
#include "control/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace ironsocket {

Status TextToMemfd(const std::string& name, std::string_view text, UniqueFd* out) {
  if (text.size() > kMaxMemfdText) return {EFBIG, "write"};
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return Status::FromErrno("memfd_create");
  for (size_t written = 0; written < text.size();) {
    ssize_t count = ::write(fd.get(), text.data() + written, text.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Status::FromErrno("write");
    written += static_cast<size_t>(count);
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) !=
      0) {
    return Status::FromErrno("fcntl");
  }
  *out = std::move(fd);
  return {};
}

Status TextFromMemfd(int fd, std::string* out) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return Status::FromErrno("fstat");
  if (info.st_size < 0 || static_cast<size_t>(info.st_size) > kMaxMemfdText) return {EFBIG, "read"};
  out->resize(static_cast<size_t>(info.st_size));
  for (size_t read = 0; read < out->size();) {
    ssize_t count = ::pread(fd, out->data() + read, out->size() - read, static_cast<off_t>(read));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Status::FromErrno("pread");
    if (count == 0) {
      out->resize(read);
      break;
    }
    read += static_cast<size_t>(count);
  }
  return {};
}

}  // namespace ironsocket
