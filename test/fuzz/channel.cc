// SPDX-License-Identifier: MIT
// The channel between keeper, master and worker. Steps of (what, amount): a peer that obeys no rule
// sends packets of any length with any number of descriptors; then two ends of ours fill their
// queue, read and go away at any moment. Messages come in order, with their descriptors, and none
// of these is left open.
#include "control/channel.h"

#include <deque>
#include <string>

#include "../native/socket-pair.h"
#include "descriptors.h"
#include "net/rights.h"

using namespace ironsocket;

namespace {

constexpr uint8_t kLetters[70'016] = {};

void ReceiveAnything(std::span<const uint8_t> input) {
  SocketPair pair;
  Channel channel(std::move(pair.ours));
  const std::vector<int> fds(253, 0);
  for (; input.size() >= 2; input = input.subspan(2)) {
    // Most are short; the longest is over the limit.
    const size_t length = input[0] < 128 ? input[0] : (input[0] - 127) * 547u;
    const auto sent = std::span(kLetters).first(length);
    if (!Post(pair.theirs.get(), sent, std::span(fds).first(input[1] % 254))) break;
    std::string message;
    std::vector<UniqueFd> got;
    const Channel::Received received = channel.Receive(&message, &got);
    if (length == 0) {
      Require(received == Channel::Received::kClosed);
    } else if (length > Channel::kMaxMessage) {
      Require(received == Channel::Received::kFdsLost && got.empty());
    } else {
      Require(received == Channel::Received::kMessage && message.size() == length);
      Require(got.size() == input[1] % 254);
    }
  }
  pair.theirs.Reset();
  std::string message;
  std::vector<UniqueFd> got;
  Require(channel.Receive(&message, &got) == Channel::Received::kClosed);
}

struct Expected {
  std::string message;
  size_t fds;
};

// `copies_wait`: the sender's copies may have left this process no descriptors.
void ReceiveNext(Channel* channel, bool copies_wait, std::deque<Expected>* expected) {
  std::string message;
  std::vector<UniqueFd> got;
  const Channel::Received received = channel->Receive(&message, &got);
  if (received == Channel::Received::kNothing) return;
  Require(!expected->empty() && message == expected->front().message);
  if (received == Channel::Received::kFdsLost) {
    Require(copies_wait && expected->front().fds > 0 && got.empty());
  } else {
    Require(received == Channel::Received::kMessage && got.size() == expected->front().fds);
  }
  expected->pop_front();
}

void Exchange(std::span<const uint8_t> input) {
  SocketPair pair;
  Channel sender(std::move(pair.ours)), receiver(std::move(pair.theirs));
  std::deque<Expected> expected;
  const std::vector<int> fds(Channel::kMaxFds + 1, 0);
  for (uint8_t number = 0; input.size() >= 2; input = input.subspan(2), number++) {
    const uint8_t what = input[0] % 8, amount = input[1];
    if (what < 4) {
      const size_t length = what == 3 ? amount * 260u : amount;
      const size_t count = what == 2 ? amount : 0;
      const std::string message(length, static_cast<char>('a' + number % 26));
      const Status status = sender.Send(message, std::span(fds).first(std::min(count, fds.size())));
      const bool fits = length > 0 && length <= Channel::kMaxMessage && count <= Channel::kMaxFds;
      // Those that wait are copies, of which a process has only so many.
      const bool is_short = IsPassingForRights(status.error);
      Require(fits ? status.ok() || is_short : status.error == EMSGSIZE);
      if (status.ok()) expected.push_back({message, count});
    } else if (what < 6) {
      for (int i = 0; i <= amount; i++) ReceiveNext(&receiver, sender.waiting(), &expected);
    } else if (what == 6) {
      Require(sender.Flush().ok());
    } else if (amount == 0) {
      receiver.Close();
      Require(sender.Send("nobody").ok() && sender.Flush().ok() && !sender.waiting());
      return;
    }
  }
  // Whatever waits arrives.
  for (size_t left = SIZE_MAX; !expected.empty() && expected.size() < left;) {
    left = expected.size();
    Require(sender.Flush().ok());
    ReceiveNext(&receiver, sender.waiting(), &expected);
  }
  Require(expected.empty() && !sender.waiting());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 1 || size > 400) return 0;
  const int before = NextFd();
  const std::span<const uint8_t> input(bytes + 1, size - 1);
  if (bytes[0] % 2 == 0) {
    ReceiveAnything(input);
  } else {
    Exchange(input);
  }
  Require(NextFd() == before);
  return 0;
}
