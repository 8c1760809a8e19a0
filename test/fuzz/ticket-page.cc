// SPDX-License-Identifier: MIT
// A page of ticket keys of another process. First byte: as it is, or with the size and the mark of
// one. What is taken gives keys at any generation, and a rotation moves them by one.
#include <cstring>
#include <memory>

#include "descriptors.h"
#include "handshake/ticket_keys.h"
#include "handshake/ticket_page.h"

using namespace ironsocket;

namespace {

constexpr uint64_t kFormat = 0x1235'0001'7469'636bULL;

bool Same(const TicketKey& a, const TicketKey& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

void CheckRotation(TicketPage page) {
  TicketKeySet before, after;
  ReadTicketKeys(page, &before);
  TicketKeyWords fresh;
  fresh.fill(page.generation);
  RotateTicketKeys(fresh, &page);
  ReadTicketKeys(page, &after);
  Require(Same(after.previous, before.current) && Same(after.current, before.next));
  Require(std::memcmp(&after.next, &fresh, sizeof fresh) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 1 || size > 2'000) return 0;
  std::vector<uint8_t> page(bytes + 1, bytes + size);
  if (bytes[0] & 1) {
    page.resize(sizeof(TicketPage));
    std::memcpy(page.data(), &kFormat, sizeof kFormat);
  }
  const int before = NextFd();
  {
    const UniqueFd fd = Memory(page, bytes[0] & 2 ? F_SEAL_GROW : F_SEAL_SHRINK);
    const std::unique_ptr<TicketKeys> keys(TicketKeys::Map(fd.get()));
    const bool good = page.size() == sizeof(TicketPage) && (bytes[0] & 2) == 0 &&
                      std::memcmp(page.data(), &kFormat, sizeof kFormat) == 0;
    Require((keys != nullptr) == good);
    Require((TicketKeys::Rotate(fd.get()) == 0) == good);
  }
  Require(NextFd() == before);
  if (page.size() == sizeof(TicketPage)) {
    TicketPage copy;
    std::memcpy(&copy, page.data(), sizeof copy);
    CheckRotation(copy);
  }
  return 0;
}
