// SPDX-License-Identifier: MIT
// Without ThreadSanitizer: there is one thread.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "handoff/batch.h"
#include "handoff/version.h"
#include "record-oracle.h"
#include "socket-pair.h"

using namespace ironsocket;

namespace {

struct Pair {
  UniqueFd donor, recipient;

  Pair() {
    SocketPair pair;
    donor = std::move(pair.ours);
    recipient = std::move(pair.theirs);
  }
  int Receive(Prepare* prepare) {
    refusal = Refusal::kNone;
    return ReceivePrepare(recipient.get(), prepare, &refusal);
  }
  Refusal refusal = Refusal::kNone;
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

UniqueFd SealedMemfd(off_t size, int seals = F_SEAL_SHRINK | F_SEAL_GROW) {
  UniqueFd memfd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  REQUIRE(ftruncate(memfd.get(), size) == 0);
  REQUIRE(fcntl(memfd.get(), F_ADD_SEALS, seals) == 0);
  return memfd;
}

}  // namespace

TEST_CASE("batch: frames and descriptors arrive together, the answer comes back") {
  Pair pair;
  std::vector<UniqueFd> owner;
  const std::vector<int> fds = Pipes(&owner, kMaxBatchFds);
  const Bytes frames = Pattern(1'000'000);
  REQUIRE(SendPrepare(pair.donor.get(), 7, 125, 42, frames, fds) == 0);
  Prepare prepare;
  REQUIRE(pair.Receive(&prepare) == 0);
  CHECK_FALSE(prepare.taken_back);
  CHECK(prepare.id == 7);
  CHECK(prepare.sessions == 125);
  CHECK(prepare.prepared_us == 42);
  CHECK(Bytes(prepare.frames.begin(), prepare.frames.end()) == frames);
  REQUIRE(prepare.fds.size() == fds.size());
  for (size_t i = 0; i < fds.size(); ++i) {
    CHECK(InodeOf(prepare.fds[i].get()) == InodeOf(fds[i]));
    CHECK((fcntl(prepare.fds[i].get(), F_GETFD) & FD_CLOEXEC) != 0);
  }
  Answer answer;
  CHECK(ReceiveAnswer(pair.donor.get(), &answer) == -EAGAIN);
  for (const Refusal refusal : {Refusal::kNone, Refusal::kOther, Refusal::kShortage}) {
    REQUIRE(SendAnswer(pair.recipient.get(), {7, refusal}) == 0);
    REQUIRE(ReceiveAnswer(pair.donor.get(), &answer) == 0);
    CHECK(answer.id == 7);
    CHECK(answer.refusal == refusal);
  }
}

TEST_CASE("batch: the death of either side is the end of the stream, behind what was sent before") {
  Pair pair;
  REQUIRE(SendPrepare(pair.donor.get(), 1, 0, 0, {}, {}) == 0);
  pair.donor.Reset();
  Prepare prepare;
  CHECK(pair.Receive(&prepare) == 0);
  Prepare next;
  CHECK(pair.Receive(&next) == -EPIPE);
  CHECK(SendAnswer(pair.recipient.get(), {1}) == -EPIPE);
}

TEST_CASE("batch: a late answer to a donor that listens no more fails at its sender") {
  Pair pair;
  REQUIRE(SendPrepare(pair.donor.get(), 1, 0, 0, {}, {}) == 0);
  REQUIRE(shutdown(pair.donor.get(), SHUT_RD) == 0);
  CHECK(SendAnswer(pair.recipient.get(), {1}) == -EPIPE);
}

TEST_CASE("batch: the donor's last word comes behind the batch, and outlives the donor") {
  Pair pair;
  REQUIRE(SendPrepare(pair.donor.get(), 5, 0, 0, {}, {}) == 0);
  REQUIRE(shutdown(pair.donor.get(), SHUT_RD) == 0);
  REQUIRE(SendTakenBack(pair.donor.get(), 5) == 0);
  pair.donor.Reset();
  Prepare batch, word, end;
  REQUIRE(pair.Receive(&batch) == 0);
  CHECK_FALSE(batch.taken_back);
  REQUIRE(pair.Receive(&word) == 0);
  CHECK(word.taken_back);
  CHECK(word.id == 5);
  CHECK(pair.Receive(&end) == -EPIPE);
}

TEST_CASE("batch: a donor whose other side is gone learns it from every message") {
  Pair pair;
  pair.recipient.Reset();
  CHECK(SendPrepare(pair.donor.get(), 1, 0, 0, {}, {}) == -EPIPE);
  CHECK(SendTakenBack(pair.donor.get(), 1) == -EPIPE);
  Answer answer;
  CHECK(ReceiveAnswer(pair.donor.get(), &answer) == -EPIPE);
}

TEST_CASE("batch: versions of neighbours are understood, with what a newer one puts behind") {
  Pair pair;
  uint8_t honest[1024] = {};
  REQUIRE(SendPrepare(pair.donor.get(), 9, 0, 0, Pattern(100), {}) == 0);
  const auto size = static_cast<size_t>(recv(pair.recipient.get(), honest, sizeof honest, 0));
  REQUIRE(size == 48);
  const auto received = [&](uint16_t version, size_t length) {
    const UniqueFd memfd = SealedMemfd(100);
    std::memcpy(honest + 4, &version, sizeof version);
    SendRaw(pair.donor.get(), honest, length, memfd.get());
    Prepare prepare;
    const int error = pair.Receive(&prepare);
    CHECK((error == 0 || error == -EBADMSG));
    CHECK(prepare.id == 9);
    return pair.refusal;
  };
  const uint16_t ours = HandoffVersion();
  CHECK(received(0, 48) == Refusal::kVersion);
  CHECK(received(ours, 48) == Refusal::kNone);
  CHECK(received(ours, 56) == Refusal::kMessage);
  CHECK(received(ours + 1, 48) == Refusal::kNone);
  CHECK(received(ours + 1, 56) == Refusal::kNone);
  CHECK(received(ours + 1, 256) == Refusal::kNone);
  CHECK(received(ours + 1, 257) == Refusal::kMessage);
  CHECK(received(ours + 1, 40) == Refusal::kMessage);
  CHECK(received(ours + 2, 48) == Refusal::kVersion);
  CHECK(received(ours + 2, 40) == Refusal::kVersion);  // whatever it has behind its head
}

TEST_CASE("batch: answers of neighbours are understood, an unknown reason is some reason") {
  Pair pair;
  uint8_t honest[64] = {};
  REQUIRE(SendAnswer(pair.recipient.get(), {4, Refusal::kSockets}) == 0);
  REQUIRE(recv(pair.donor.get(), honest, sizeof honest, 0) == 48);
  const auto sent = [&](size_t at, uint16_t value, Answer* answer) {
    uint8_t spoilt[64];
    std::memcpy(spoilt, honest, sizeof spoilt);
    std::memcpy(spoilt + at, &value, sizeof value);
    SendRaw(pair.recipient.get(), spoilt, 48);
    return ReceiveAnswer(pair.donor.get(), answer);
  };
  Answer answer;
  const uint16_t ours = HandoffVersion();
  CHECK(sent(4, ours, &answer) == 0);
  CHECK(sent(4, ours + 1, &answer) == 0);
  CHECK(answer.refusal == Refusal::kSockets);
  CHECK(sent(4, ours + 2, &answer) == -EBADMSG);
  CHECK(sent(4, 0, &answer) == -EBADMSG);
  CHECK(sent(40, 3, &answer) == -EBADMSG);  // neither accepted nor refused
  for (const uint16_t reason : {0, 8, 99, 100, 101, 999}) {
    REQUIRE(sent(44, reason, &answer) == 0);
    CHECK(answer.refusal == Refusal::kOther);
    CHECK(RefusalText(answer.refusal)[0] != 0);
  }
}

TEST_CASE("batch: over the bounds nothing is sent") {
  Pair pair;
  std::vector<UniqueFd> owner;
  const std::vector<int> fds = Pipes(&owner, kMaxBatchFds + 1);
  CHECK(SendPrepare(pair.donor.get(), 1, 1, 0, {}, fds) == -EMSGSIZE);
  const Bytes frames(kMaxBatchBytes + 1);
  CHECK(SendPrepare(pair.donor.get(), 1, 1, 0, frames, {}) == -EMSGSIZE);
  Prepare prepare;
  CHECK(pair.Receive(&prepare) == -EAGAIN);
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
    CHECK(pair.Receive(&prepare) == -EBADMSG);
    CHECK(pair.refusal != Refusal::kNone);
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
  const int error = pair.Receive(&prepare);
  REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(error == -EBADMSG);
  CHECK(pair.refusal == Refusal::kDescriptors);
  CHECK(prepare.id == 3);
  for (int fd : fds) CHECK(fcntl(fd, F_GETFD) >= 0);
}

TEST_CASE("batch: frames that are not sealed, or of another size than said, are refused") {
  Pair pair;
  uint8_t honest[256];
  REQUIRE(SendPrepare(pair.donor.get(), 9, 1, 0, Pattern(100), {}) == 0);
  const ssize_t size = recv(pair.recipient.get(), honest, sizeof honest, 0);
  for (const int seals : {0, F_SEAL_SHRINK, F_SEAL_GROW}) {
    const UniqueFd memfd = SealedMemfd(100, seals);
    SendRaw(pair.donor.get(), honest, static_cast<size_t>(size), memfd.get());
    Prepare prepare;
    CHECK(pair.Receive(&prepare) == -EBADMSG);
  }
  const UniqueFd memfd = SealedMemfd(99);
  SendRaw(pair.donor.get(), honest, static_cast<size_t>(size), memfd.get());
  Prepare prepare;
  CHECK(pair.Receive(&prepare) == -EBADMSG);
}
