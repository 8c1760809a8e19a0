// SPDX-License-Identifier: MIT
// A message from the other side of a handoff's pair, read as the donor's and as the recipient's.
// First byte: how many descriptors come with it, a sealed memfd before all. Second: how many of the
// bytes are the message; the rest is in the memfd.
#include <algorithm>
#include <cerrno>

#include "../native/socket-pair.h"
#include "descriptors.h"
#include "handoff/batch.h"

using namespace ironsocket;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const SocketPair pair;
  if (size < 3) return 0;
  const size_t length = std::clamp<size_t>(bytes[1], 1, size - 2);
  const std::span<const uint8_t> message(bytes + 2, length);
  const std::span<const uint8_t> rest(bytes + 2 + length, size - 2 - length);
  const UniqueFd memfd = Memory(rest);
  const int before = NextFd();
  {
    const int all[] = {memfd.get(), pair.ours.get(), memfd.get(), 0};
    const auto fds = std::span(all).first(bytes[0] % 5);
    Require(Post(pair.ours.get(), message, fds));
    Prepare prepare;
    Refusal refusal = Refusal::kNone;
    const int error = ReceivePrepare(pair.theirs.get(), &prepare, &refusal);
    Require(error == 0 || error == -EBADMSG);
    Require((error == 0) == (refusal == Refusal::kNone));
    Require(error == 0 || prepare.fds.empty());
    if (error == 0 && !prepare.taken_back) {
      Require(prepare.fds.size() + 1 == fds.size() && prepare.frames.size() == rest.size());
    }
    Require(Post(pair.theirs.get(), message, fds));
    Answer answer;
    const int answered = ReceiveAnswer(pair.ours.get(), &answer);
    Require(answered == -EBADMSG || (answered == 0 && fds.empty() && error != 0));
    Require(answered != 0 || answer.refusal <= Refusal::kShortage);
    Require(answered != 0 ||
            (answer.refusal == Refusal::kNone) == (RefusalText(answer.refusal)[0] == '\0'));
  }
  Require(NextFd() == before);
  return 0;
}
