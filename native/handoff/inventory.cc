// SPDX-License-Identifier: MIT
#include "handoff/inventory.h"

#include <cerrno>
#include <cstring>

#include "control/sealed_memfd.h"

namespace ironsocket {
namespace {

struct Entry {
  uint64_t id = 0;
  uint64_t length = 0;
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
  const bool good = fd_.valid() && written_ + slice_.size() <= kMostBytes &&
                    WriteAt(fd_.get(), slice_, written_) == 0;
  if (good) written_ += slice_.size();
  FrameBytes().swap(slice_);
  sessions_ = 0;
  return good;
}

UniqueFd Inventory::Finish() {
  Flush();
  // Half an entry of a write that failed must not be read.
  if (fd_.valid() && (ftruncate(fd_.get(), static_cast<off_t>(written_)) != 0 ||
                      fcntl(fd_.get(), F_ADD_SEALS, kSizeSeals) != 0)) {
    fd_.Reset();
  }
  return std::move(fd_);
}

bool Examine(int fd, Examined* out) {
  const SealedMapping mapping(fd, PROT_READ);
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
  const SealedMapping mapping(fd, PROT_READ | PROT_WRITE);
  if (!mapping.good()) return -EINVAL;
  if (!mapping.bytes().empty()) OPENSSL_cleanse(mapping.bytes().data(), mapping.bytes().size());
  return 0;
}

}  // namespace ironsocket
