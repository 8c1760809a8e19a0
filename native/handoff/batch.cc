// SPDX-License-Identifier: MIT
#include "handoff/batch.h"

#include <openssl/crypto.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <iterator>

#include "control/sealed_memfd.h"
#include "handoff/version.h"
#include "net/rights.h"

namespace ironsocket {
namespace {

constexpr uint32_t kMagic = 0x66646e68;  // "hndf"
enum class Kind : uint16_t { kPrepare = 1, kAnswer = 2, kTakenBack = 3 };

// All messages; little endian, as every machine that this is built for. A newer version may put
// more behind it, which we don't look at.
struct Message {
  uint32_t magic = kMagic;
  uint16_t version = HandoffVersion();
  Kind kind = Kind::kPrepare;
  uint64_t id = 0;
  uint32_t sessions = 0;    // kPrepare
  uint32_t fds = 0;         // kPrepare, without the memfd
  uint64_t bytes = 0;       // kPrepare, in the memfd
  int64_t prepared_us = 0;  // kPrepare
  uint32_t answer = 0;      // kAnswer: kAccepted or kRefused
  Refusal refusal = Refusal::kNone;
};
static_assert(sizeof(Message) == 48);
constexpr size_t kMostMessage = 256;
constexpr uint32_t kAccepted = 1;
constexpr uint32_t kRefused = 2;

// What did not go is to be wiped too.
void WipeMemfd(int fd) {
  const SealedMapping mapping(fd, PROT_READ | PROT_WRITE);
  if (!mapping.bytes().empty()) OPENSSL_cleanse(mapping.bytes().data(), mapping.bytes().size());
}

// Not F_SEAL_WRITE: the other side wipes it.
int WriteMemfd(std::span<const uint8_t> bytes, UniqueFd* out) {
  UniqueFd fd;
  if (const int error = MakeSealedMemfd("ironsocket-handoff", bytes.size(), 0, &fd)) return error;
  if (const int error = WriteAt(fd.get(), bytes, 0)) {
    WipeMemfd(fd.get());
    return error;
  }
  *out = std::move(fd);
  return 0;
}

// Copies the sealed memfd and wipes it.
bool ReadMemfd(int fd, uint64_t size, FrameBytes* out) {
  const SealedMapping mapping(fd, PROT_READ | PROT_WRITE);
  const std::span<uint8_t> bytes = mapping.bytes();
  if (!mapping.good() || bytes.size() != size) return false;
  if (bytes.empty()) return true;
  out->assign(bytes.begin(), bytes.end());
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return true;
}

int Send(int socket, const Message& message, std::span<const int> fds) {
  iovec piece{const_cast<Message*>(&message), sizeof message};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  RightsSpace space;
  PutRights(fds, &space, &header);
  for (;;) {
    if (sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return 0;
    if (errno != EINTR) return -errno;
  }
}

// kNone where the bytes are a message that we understand. Its id is 0 where they don't tell it.
Refusal Judge(size_t size, int flags, Message* message) {
  const bool headed = size >= offsetof(Message, sessions) && message->magic == kMagic;
  if (!headed) message->id = 0;
  if (!headed || (flags & MSG_TRUNC)) return Refusal::kMessage;
  if (!IsNeighbour(message->version)) return Refusal::kVersion;
  const bool newer = message->version > HandoffVersion();
  if (size < sizeof *message || (size > sizeof *message && !newer)) return Refusal::kMessage;
  return flags & MSG_CTRUNC ? Refusal::kDescriptors : Refusal::kNone;
}

// One message with all its descriptors, which are the caller's whatever it says.
int Receive(int socket, Message* message, std::vector<UniqueFd>* fds, Refusal* refusal) {
  RightsSpace space;
  uint8_t more[kMostMessage - sizeof *message];
  iovec pieces[] = {{message, sizeof *message}, {more, sizeof more}};
  msghdr header{};
  header.msg_iov = pieces;
  header.msg_iovlen = std::size(pieces);
  header.msg_control = space.bytes;
  header.msg_controllen = sizeof space.bytes;
  ssize_t got;
  do {
    got = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return errno == ECONNRESET ? -EPIPE : -errno;
  TakeRights(&header, fds);
  if (got == 0) return -EPIPE;
  *refusal = Judge(static_cast<size_t>(got), header.msg_flags, message);
  return *refusal == Refusal::kNone ? 0 : -EBADMSG;
}

// What PREPARE says must be what came with it.
Refusal Unpack(const Message& message, std::vector<UniqueFd>* fds, Prepare* prepare) {
  if (message.kind == Kind::kTakenBack) {
    prepare->taken_back = true;
    return fds->empty() ? Refusal::kNone : Refusal::kMessage;
  }
  prepare->sessions = message.sessions;
  prepare->prepared_us = message.prepared_us;
  if (message.kind != Kind::kPrepare || fds->size() != message.fds + size_t{1} ||
      message.bytes > kMaxBatchBytes ||
      !ReadMemfd((*fds)[0].get(), message.bytes, &prepare->frames)) {
    return Refusal::kMessage;
  }
  prepare->fds.assign(std::make_move_iterator(fds->begin() + 1),
                      std::make_move_iterator(fds->end()));
  return Refusal::kNone;
}

}  // namespace

int SendPrepare(int socket, uint64_t id, uint32_t sessions, int64_t prepared_us,
                std::span<const uint8_t> frames, std::span<const int> fds) {
  if (fds.size() > kMaxBatchFds || frames.size() > kMaxBatchBytes) return -EMSGSIZE;
  UniqueFd memfd;
  if (const int error = WriteMemfd(frames, &memfd)) return error;
  std::vector<int> all{memfd.get()};
  all.insert(all.end(), fds.begin(), fds.end());
  Message message;
  message.id = id;
  message.sessions = sessions;
  message.fds = static_cast<uint32_t>(fds.size());
  message.bytes = frames.size();
  message.prepared_us = prepared_us;
  const int error = Send(socket, message, all);
  if (error != 0) WipeMemfd(memfd.get());
  return error;
}

int ReceiveAnswer(int socket, Answer* answer) {
  Message message;
  std::vector<UniqueFd> fds;
  Refusal ignored;
  if (const int error = Receive(socket, &message, &fds, &ignored)) return error;
  const bool accepted = message.answer == kAccepted;
  if (message.kind != Kind::kAnswer || !fds.empty() || (!accepted && message.answer != kRefused)) {
    return -EBADMSG;
  }
  answer->id = message.id;
  answer->refusal = message.refusal;
  const bool known = message.refusal > Refusal::kNone && message.refusal <= Refusal::kShortage;
  if (accepted || !known) answer->refusal = accepted ? Refusal::kNone : Refusal::kOther;
  return 0;
}

int SendTakenBack(int socket, uint64_t id) {
  Message message;
  message.kind = Kind::kTakenBack;
  message.id = id;
  return Send(socket, message, {});
}

int ReceivePrepare(int socket, Prepare* prepare, Refusal* refusal) {
  Message message;
  std::vector<UniqueFd> fds;
  const int error = Receive(socket, &message, &fds, refusal);
  prepare->id = message.id;
  if (error != 0) return error;
  *refusal = Unpack(message, &fds, prepare);
  return *refusal == Refusal::kNone ? 0 : -EBADMSG;
}

int SendAnswer(int socket, const Answer& answer) {
  Message message;
  message.kind = Kind::kAnswer;
  message.id = answer.id;
  message.answer = answer.refusal == Refusal::kNone ? kAccepted : kRefused;
  message.refusal = answer.refusal;
  return Send(socket, message, {});
}

}  // namespace ironsocket
