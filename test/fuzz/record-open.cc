// SPDX-License-Identifier: MIT
// Bytes from the network through the userspace engine. Odd first byte: they are records as they
// are, which must be refused or be waited for. Even: each is sealed under good keys first, so that
// everything behind the AEAD is reached, down to Judge; what was sealed has to come out again.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "record-keys.h"
#include "record/post_handshake.h"
#include "record/userspace.h"

using namespace ironsocket;

namespace {

// Lengths, types and padding out of the input. What is sealed is any content of any type.
std::vector<uint8_t> Seal(TrafficKeys keys, std::span<const uint8_t> input) {
  Aead aead;
  std::vector<uint8_t> stream;
  while (input.size() >= 2 && stream.size() < 100'000) {
    const size_t length = std::min<size_t>(input[0], input.size() - 2);
    const auto type = static_cast<ContentType>(input[1] % 8 + 18);
    std::vector<uint8_t> record(keys.prefix() + length + keys.suffix());
    std::copy_n(input.begin() + 2, length, record.begin() + static_cast<ptrdiff_t>(keys.prefix()));
    Require(SealRecord(aead, keys, type, record.data(), length) == record.size());
    stream.insert(stream.end(), record.begin(), record.end());
    if (type == ContentType::kHandshake && length > 0 && input[2] == kKeyUpdate &&
        keys.version == TlsVersion::kTls13) {
      Require(NextGeneration(&keys));
    }
    input = input.subspan(2 + length);
  }
  return stream;
}

// All records up to the first fault, in turns of different sizes; how many there were.
size_t Open(TrafficKeys keys, std::span<const uint8_t> stream, uint8_t step) {
  static Aead aead;
  static BufferPool pool;
  static const std::unique_ptr<uint8_t[]> scratch(new uint8_t[BufferPool::kLargest]);
  UserspaceReceiver receiver(aead, pool, scratch.get());
  Receiving rx;
  rx.keys = std::move(keys);
  PostHandshakeState state;
  int ends[2];
  Require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
  size_t opened = 0;
  for (bool more = true; more;) {
    const size_t chunk = std::min<size_t>(stream.size(), 1 + step * 37u);
    if (chunk > 0) Require(send(ends[0], stream.data(), chunk, 0) == static_cast<ssize_t>(chunk));
    stream = stream.subspan(chunk);
    Require(pool.Secure(1));
    const ssize_t filled = receiver.Fill(rx, ends[1], 1 + step * 17u);
    OpenedRecord record;
    Alert alert;
    RecordReceiver::Next next;
    more = !stream.empty() || filled > 0;
    while ((next = receiver.NextRecord(rx, &record, &alert)) == RecordReceiver::Next::kRecord) {
      opened++;
      Require(record.content.size() <= kMaxPlaintext);
      const Judgement judgement = Judge(rx.keys.version, record, &state);
      Require(state.key_updates <= kMaxKeyUpdates + 1 && state.hello_left <= kMaxClientHello);
      if (judgement.verdict == Verdict::kFault) Require(judgement.alert != Alert::kNone);
      if (judgement.verdict == Verdict::kData) Require(!record.content.empty());
      more = more && judgement.verdict != Verdict::kFault;
      if (judgement.verdict == Verdict::kKeyUpdate ||
          judgement.verdict == Verdict::kKeyUpdateRequested) {
        Require(rx.keys.version == TlsVersion::kTls13 && NextGeneration(&rx.keys));
      }
    }
    if (next == RecordReceiver::Next::kFault) Require(alert != Alert::kNone);
    more = more && next == RecordReceiver::Next::kMore;
    receiver.Park(rx);
  }
  receiver.Forget(rx);
  close(ends[0]);
  close(ends[1]);
  return opened;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 2 || size > 20'000) return 0;
  const std::span<const uint8_t> input(bytes + 2, size - 2);
  const uint8_t choice = bytes[0] >> 1;
  if (bytes[0] & 1) {
    Require(Open(FixedKeys(choice), input, bytes[1]) == 0);  // nobody guesses a tag
  } else {
    Open(FixedKeys(choice), Seal(FixedKeys(choice), input), bytes[1]);
  }
  return 0;
}
