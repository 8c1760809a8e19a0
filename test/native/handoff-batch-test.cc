// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "handoff/batch.h"
#include "record-oracle.h"

using namespace ironsocket;

namespace {

struct Pair {
  UniqueFd donor, recipient;

  Pair() {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    donor = UniqueFd(ends[0]);
    recipient = UniqueFd(ends[1]);
  }
};

std::vector<int> Pipes(std::vector<UniqueFd>* owner, size_t count) {
  std::vector<int> fds;
  for (size_t i = 0; i < count; ++i) {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    owner->emplace_back(ends[0]);
    close(ends[1]);
    fds.push_back(ends[0]);
  }
  return fds;
}

ino_t InodeOf(int fd) {
  struct stat status;
  REQUIRE(fstat(fd, &status) == 0);
  return status.st_ino;
}

size_t OpenFds() {
  size_t count = 0;
  for (int fd = 0; fd < 2048; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

// A message with any bytes, and a descriptor where one is given.
void SendRaw(int socket, const void* bytes, size_t size, int fd = -1) {
  alignas(cmsghdr) uint8_t space[CMSG_SPACE(sizeof fd)] = {};
  iovec piece{const_cast<void*>(bytes), size};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    cmsghdr* control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(control), &fd, sizeof fd);
  }
  REQUIRE(sendmsg(socket, &message, 0) == static_cast<ssize_t>(size));
}

}  // namespace

TEST_CASE("batch: frames and descriptors arrive together, the answer comes back") {
  Pair pair;
  std::vector<UniqueFd> owner;
  const std::vector<int> fds = Pipes(&owner, kMaxBatchFds);
  const Bytes frames = Pattern(1'000'000);
  REQUIRE(SendPrepare(pair.donor.get(), 7, 125, 42, frames, fds) == 0);
  Prepare prepare;
  REQUIRE(ReceivePrepare(pair.recipient.get(), &prepare) == 0);
  CHECK(prepare.id == 7);
  CHECK(prepare.sessions == 125);
  CHECK(prepare.prepared_us == 42);
  CHECK(Bytes(prepare.frames.begin(), prepare.frames.end()) == frames);
  REQUIRE(prepare.fds.size() == fds.size());
  for (size_t i = 0; i < fds.size(); ++i) {
    CHECK(InodeOf(prepare.fds[i].get()) == InodeOf(fds[i]));
    CHECK((fcntl(prepare.fds[i].get(), F_GETFD) & FD_CLOEXEC) != 0);
  }
  uint64_t id = 0;
  Answer answer = Answer::kRefused;
  CHECK(ReceiveAnswer(pair.donor.get(), &id, &answer) == -EAGAIN);
  REQUIRE(SendAnswer(pair.recipient.get(), 7, Answer::kAccepted) == 0);
  REQUIRE(ReceiveAnswer(pair.donor.get(), &id, &answer) == 0);
  CHECK(id == 7);
  CHECK(answer == Answer::kAccepted);
}

TEST_CASE("batch: the death of either side is the end of the stream, behind what was sent before") {
  Pair pair;
  REQUIRE(SendPrepare(pair.donor.get(), 1, 0, 0, {}, {}) == 0);
  pair.donor.Reset();
  Prepare prepare;
  CHECK(ReceivePrepare(pair.recipient.get(), &prepare) == 0);
  Prepare next;
  CHECK(ReceivePrepare(pair.recipient.get(), &next) == -EPIPE);
  CHECK(SendAnswer(pair.recipient.get(), 1, Answer::kAccepted) == -EPIPE);
}

TEST_CASE("batch: a late answer to a donor that listens no more fails at its sender") {
  Pair pair;
  REQUIRE(SendPrepare(pair.donor.get(), 1, 0, 0, {}, {}) == 0);
  REQUIRE(shutdown(pair.donor.get(), SHUT_RD) == 0);
  CHECK(SendAnswer(pair.recipient.get(), 1, Answer::kAccepted) == -EPIPE);
}

TEST_CASE("batch: over the bounds nothing is sent") {
  Pair pair;
  std::vector<UniqueFd> owner;
  const std::vector<int> fds = Pipes(&owner, kMaxBatchFds + 1);
  CHECK(SendPrepare(pair.donor.get(), 1, 1, 0, {}, fds) == -EMSGSIZE);
  const Bytes frames(kMaxBatchBytes + 1);
  CHECK(SendPrepare(pair.donor.get(), 1, 1, 0, frames, {}) == -EMSGSIZE);
  Prepare prepare;
  CHECK(ReceivePrepare(pair.recipient.get(), &prepare) == -EAGAIN);
}

TEST_CASE(
    "batch: what is cut, foreign or without its descriptors is refused, and nothing stays open") {
  Pair pair;
  std::vector<UniqueFd> owner;
  const std::vector<int> fds = Pipes(&owner, 3);
  // The bytes of an honest message, to be spoilt.
  uint8_t honest[256];
  REQUIRE(SendPrepare(pair.donor.get(), 9, 1, 0, Pattern(100), fds) == 0);
  const ssize_t size = recv(pair.recipient.get(), honest, sizeof honest, 0);
  REQUIRE(size > 8);
  const size_t before = OpenFds();
  const auto refused = [&](const uint8_t* bytes, size_t length, int fd) {
    SendRaw(pair.donor.get(), bytes, length, fd);
    Prepare prepare;
    CHECK(ReceivePrepare(pair.recipient.get(), &prepare) == -EBADMSG);
    CHECK(prepare.fds.empty());
  };
  for (size_t length = 1; length <= static_cast<size_t>(size); ++length) {
    refused(honest, length, fds[0]);  // the whole of it has the wrong number of descriptors
    refused(honest, length, -1);
  }
  for (size_t i = 0; i < static_cast<size_t>(size) * 8; ++i) {
    uint8_t spoilt[256];
    std::memcpy(spoilt, honest, sizeof spoilt);
    spoilt[i / 8] ^= static_cast<uint8_t>(1 << i % 8);
    refused(spoilt, static_cast<size_t>(size), fds[0]);
  }
  CHECK(OpenFds() == before);
}

TEST_CASE("batch: a recipient without room for the descriptors refuses, and the donor's stay") {
  Pair pair;
  std::vector<UniqueFd> owner;
  const std::vector<int> fds = Pipes(&owner, 20);
  REQUIRE(SendPrepare(pair.donor.get(), 3, 10, 0, Pattern(10), fds) == 0);
  rlimit limit{}, low{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  low = limit;
  low.rlim_cur = static_cast<rlim_t>(fds.back()) + 5;
  REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
  Prepare prepare;
  const int error = ReceivePrepare(pair.recipient.get(), &prepare);
  REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(error == -EBADMSG);
  CHECK(prepare.id == 3);
  for (int fd : fds) CHECK(fcntl(fd, F_GETFD) >= 0);
}

TEST_CASE("batch: frames that are not sealed, or of another size than said, are refused") {
  Pair pair;
  uint8_t honest[256];
  REQUIRE(SendPrepare(pair.donor.get(), 9, 1, 0, Pattern(100), {}) == 0);
  const ssize_t size = recv(pair.recipient.get(), honest, sizeof honest, 0);
  for (const int seals : {0, F_SEAL_SHRINK, F_SEAL_GROW}) {
    UniqueFd memfd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(ftruncate(memfd.get(), 100) == 0);
    REQUIRE(fcntl(memfd.get(), F_ADD_SEALS, seals) == 0);
    SendRaw(pair.donor.get(), honest, static_cast<size_t>(size), memfd.get());
    Prepare prepare;
    CHECK(ReceivePrepare(pair.recipient.get(), &prepare) == -EBADMSG);
  }
  UniqueFd memfd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(ftruncate(memfd.get(), 99) == 0);
  REQUIRE(fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
  SendRaw(pair.donor.get(), honest, static_cast<size_t>(size), memfd.get());
  Prepare prepare;
  CHECK(ReceivePrepare(pair.recipient.get(), &prepare) == -EBADMSG);
}
