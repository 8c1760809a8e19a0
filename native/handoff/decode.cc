// SPDX-License-Identifier: MIT
// Bytes from another process, maybe of another version: nothing is believed. A frame is taken only
// if a session in this state could have been.
#include <algorithm>

#include "handoff/fields.h"
#include "handoff/version.h"

namespace ironsocket {
namespace {

using wire::Field;
using wire::Reader;

constexpr uint32_t Bit(Field type) { return uint32_t{1} << static_cast<uint16_t>(type); }

// In every frame.
constexpr uint32_t kAlways = Bit(Field::kSession) | Bit(Field::kListener) |
                             Bit(Field::kPostHandshake) | Bit(Field::kAddresses) |
                             Bit(Field::kReceivingKeys) | Bit(Field::kSendingKeys) |
                             Bit(Field::kReceiving) | Bit(Field::kSending);

// What one field says must go with what the others say.
bool IsWhole(uint32_t seen, const DecodedSession& decoded) {
  const Session& session = decoded.session;
  const bool connecting = session.phase == Phase::kConnecting;
  if ((seen & kAlways) != kAlways) return false;
  if (connecting != ((seen & Bit(Field::kBackendAddresses)) != 0)) return false;
  if (!connecting && decoded.has_backend != (session.phase == Phase::kRelaying)) return false;
  // Only a session that relays may wait for ever.
  if (session.phase != Phase::kRelaying && decoded.deadline_left_ms < 0) return false;
  if (session.rx.engine == EngineKind::kKernel && !decoded.partial.empty()) return false;
  return session.tx.engine == EngineKind::kKernel || session.tx.control_count == 0;
}

void SetSuite(const Suite& suite, TrafficKeys* keys) {
  keys->version = suite.version;
  keys->cipher = suite.cipher;
  keys->hash_length = suite.hash_length;
}

FrameFault ReadFields(Reader reader, size_t count, DecodedSession* out) {
  uint32_t seen = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint16_t number = reader.U16();
    const uint16_t flags = reader.U16();
    const std::span<const uint8_t> value = reader.Bytes(reader.U32());
    if (!reader.ok()) return FrameFault::kBadValue;
    if (number == 0 || number >= static_cast<uint16_t>(Field::kEnd)) {
      if (flags & wire::kRequired) return FrameFault::kUnknownRequiredField;
      continue;
    }
    const Field type = static_cast<Field>(number);
    if ((seen & Bit(type)) || !ReadField(type, value, out)) return FrameFault::kBadValue;
    seen |= Bit(type);
  }
  if (reader.left() > 0 || !IsWhole(seen, *out)) return FrameFault::kBadValue;
  SetSuite(*out->session.suite, &out->session.rx.keys);
  SetSuite(*out->session.suite, &out->session.tx.keys);
  return FrameFault::kNone;
}

}  // namespace

const char* FaultText(FrameFault fault) {
  switch (fault) {
    case FrameFault::kNone:
      return "";
    case FrameFault::kTruncated:
      return "truncated";
    case FrameFault::kUnknownVersion:
      return "unknown version";
    case FrameFault::kUnknownRequiredField:
      return "unknown required field";
    case FrameFault::kBadValue:
      return "bad value";
    case FrameFault::kTooLarge:
      return "too large";
  }
  return "unknown";
}

FrameFault DecodeSession(std::span<const uint8_t>* input, DecodedSession* out) {
  *out = DecodedSession{};
  if (input->size() < wire::kHeader) return FrameFault::kTruncated;
  if (!std::equal(std::begin(wire::kMagic), std::end(wire::kMagic), input->begin())) {
    return FrameFault::kBadValue;
  }
  Reader header(input->subspan(sizeof wire::kMagic));
  const uint16_t version = header.U16();
  const size_t count = header.U16();
  const size_t length = header.U32();
  if (length > wire::kMaxFrame) return FrameFault::kTooLarge;
  if (length > input->size()) return FrameFault::kTruncated;
  if (length < wire::kHeader) return FrameFault::kBadValue;
  const std::span<const uint8_t> frame = input->first(length);
  *input = input->subspan(length);
  if (!IsNeighbour(version)) return FrameFault::kUnknownVersion;
  if (header.U64() != wire::Checksum(frame)) return FrameFault::kBadValue;
  if (count > wire::kMaxFields) return FrameFault::kTooLarge;
  return ReadFields(Reader(frame.subspan(wire::kHeader)), count, out);
}

}  // namespace ironsocket
