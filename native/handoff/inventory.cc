// SPDX-License-Identifier: MIT
#include "handoff/inventory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ironsocket {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

struct Entry {
  uint64_t id = 0;
  uint64_t length = 0;
};

// A whole memfd, whose size can't change.
class Mapping {
 public:
  Mapping(int fd, int protection) {
    struct stat status;
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & kSeals) != kSeals || fstat(fd, &status) != 0) return;
    size_ = static_cast<size_t>(status.st_size);
    data_ = size_ == 0 ? MAP_FAILED : mmap(nullptr, size_, protection, MAP_SHARED, fd, 0);
    good_ = size_ == 0 || data_ != MAP_FAILED;
  }
  ~Mapping() {
    if (data_ != MAP_FAILED) munmap(data_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  bool good() const { return good_; }
  std::span<uint8_t> bytes() const {
    if (size_ == 0) return {};
    return {static_cast<uint8_t*>(data_), size_};
  }

 private:
  void* data_ = MAP_FAILED;
  size_t size_ = 0;
  bool good_ = false;
};

void Count(const Session& session, Examined* out) {
  const bool rx = session.rx.engine == EngineKind::kKernel;
  const bool tx = session.tx.engine == EngineKind::kKernel;
  ++(rx && tx ? out->kernel : tx ? out->kernel_tx : rx ? out->kernel_rx : out->userspace);
}

}  // namespace

void Inventory::Add(const Session& session, int64_t now_ms) {
  const size_t at = slice_.size();
  slice_.resize(at + sizeof(Entry));
  EncodeSession(session, now_ms, &slice_);
  const Entry entry{session.id, slice_.size() - at - sizeof(Entry)};
  std::memcpy(slice_.data() + at, &entry, sizeof entry);
  ++sessions_;
}

bool Inventory::Flush() {
  if (!fd_.valid())
    fd_.Reset(memfd_create("ironsocket-inventory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  bool good = fd_.valid() && written_ + slice_.size() <= kMostBytes;
  size_t done = 0;
  while (good && done < slice_.size()) {
    const ssize_t part = pwrite(fd_.get(), slice_.data() + done, slice_.size() - done,
                                static_cast<off_t>(written_ + done));
    if (part > 0) done += static_cast<size_t>(part);
    good = part > 0 || (part < 0 && errno == EINTR);
  }
  if (good) written_ += slice_.size();
  FrameBytes().swap(slice_);
  sessions_ = 0;
  return good;
}

UniqueFd Inventory::Finish() {
  Flush();
  // Half an entry of a write that failed must not be read.
  if (fd_.valid() && (ftruncate(fd_.get(), static_cast<off_t>(written_)) != 0 ||
                      fcntl(fd_.get(), F_ADD_SEALS, kSeals) != 0)) {
    fd_.Reset();
  }
  return std::move(fd_);
}

bool Examine(int fd, Examined* out) {
  const Mapping mapping(fd, PROT_READ);
  if (!mapping.good()) return false;
  std::span<const uint8_t> rest = mapping.bytes();
  while (!rest.empty()) {
    Entry entry;
    if (rest.size() < sizeof entry) return false;
    std::memcpy(&entry, rest.data(), sizeof entry);
    rest = rest.subspan(sizeof entry);
    if (entry.length > rest.size()) return false;
    std::span<const uint8_t> frame = rest.first(entry.length);
    rest = rest.subspan(entry.length);
    DecodedSession decoded;
    const FrameFault fault = DecodeSession(&frame, &decoded);
    if (fault == FrameFault::kNone) {
      Count(decoded.session, out);
      continue;
    }
    ++out->refused;
    if (out->first_refused.size() < Examined::kMostRefused) {
      out->first_refused.push_back({entry.id, fault});
    }
  }
  return true;
}

int WipeInventory(int fd) {
  const Mapping mapping(fd, PROT_READ | PROT_WRITE);
  if (!mapping.good()) return -EINVAL;
  if (!mapping.bytes().empty()) OPENSSL_cleanse(mapping.bytes().data(), mapping.bytes().size());
  return 0;
}

}  // namespace ironsocket
