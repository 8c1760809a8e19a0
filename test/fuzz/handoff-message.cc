// SPDX-License-Identifier: MIT
// A message from the other side of a handoff's pair, read as the donor's and as the recipient's.
// First byte: how many descriptors come with it, a sealed memfd before all. Second: how many of the
// bytes are the message; the rest is in the memfd.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "handoff/batch.h"
#include "record-keys.h"

using namespace ironsocket;

namespace {

struct Pair {
  UniqueFd ours, theirs;

  Pair() {
    int ends[2];
    Require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    ours = UniqueFd(ends[0]);
    theirs = UniqueFd(ends[1]);
  }
};

UniqueFd Sealed(std::span<const uint8_t> bytes) {
  UniqueFd memfd(memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  Require(write(memfd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  Require(fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
  return memfd;
}

void Post(int socket, std::span<const uint8_t> bytes, std::span<const int> fds) {
  alignas(cmsghdr) uint8_t space[CMSG_SPACE(4 * sizeof(int))] = {};
  iovec piece{const_cast<uint8_t*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = space;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(control), fds.data(), fds.size_bytes());
  }
  Require(sendmsg(socket, &message, 0) == static_cast<ssize_t>(bytes.size()));
}

// What was not closed would move this up.
int NextFd() {
  const UniqueFd probe(fcntl(0, F_DUPFD_CLOEXEC, 3));
  return probe.get();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const Pair pair;
  if (size < 3) return 0;
  const size_t length = std::clamp<size_t>(bytes[1], 1, size - 2);
  const std::span<const uint8_t> message(bytes + 2, length);
  const std::span<const uint8_t> rest(bytes + 2 + length, size - 2 - length);
  const UniqueFd memfd = Sealed(rest);
  const int before = NextFd();
  {
    const int all[] = {memfd.get(), pair.ours.get(), memfd.get(), 0};
    const auto fds = std::span(all).first(bytes[0] % 5);
    Post(pair.ours.get(), message, fds);
    Prepare prepare;
    Refusal refusal = Refusal::kNone;
    const int error = ReceivePrepare(pair.theirs.get(), &prepare, &refusal);
    Require(error == 0 || error == -EBADMSG);
    Require((error == 0) == (refusal == Refusal::kNone));
    Require(error == 0 || prepare.fds.empty());
    if (error == 0 && !prepare.taken_back) {
      Require(prepare.fds.size() + 1 == fds.size() && prepare.frames.size() == rest.size());
    }
    Post(pair.theirs.get(), message, fds);
    Answer answer;
    const int answered = ReceiveAnswer(pair.ours.get(), &answer);
    Require(answered == -EBADMSG || (answered == 0 && fds.empty() && error != 0));
    Require(answered != 0 || answer.refusal <= Refusal::kShortage);
  }
  Require(NextFd() == before);
  return 0;
}
