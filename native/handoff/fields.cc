// SPDX-License-Identifier: MIT
// The values of a frame's fields: each within its own bounds. What they are together is looked at
// in decode.cc.
#include "handoff/fields.h"

#include <sys/un.h>

#include <algorithm>

#include "relay/transfer.h"

namespace ironsocket {
namespace {

using wire::Field;
using wire::Reader;

// The numbers of these are on the wire: a new one goes behind the last, and is added here.
static_assert(static_cast<int>(Phase::kClosing) == 2 && static_cast<int>(Flow::kDone) == 2);
static_assert(static_cast<int>(EngineKind::kKernel) == 1);
static_assert(static_cast<int>(OffloadMode::kUserspace) == 2);
constexpr auto kLastReason = CloseReason::kInternalError;
static_assert(static_cast<int>(kLastReason) == 14 && static_cast<int>(CloseReason::kNoRekey) == 11);
constexpr auto kLastWhy = NotOffloaded::kRefused;
static_assert(static_cast<int>(kLastWhy) == 9 && static_cast<int>(NotOffloaded::kFewBytes) == 7);

// False where the number is beyond `last`.
template <typename Enum>
bool Take(uint8_t number, Enum last, Enum* out) {
  *out = static_cast<Enum>(number);
  return number <= static_cast<uint8_t>(last);
}

std::string TextOf(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// In the order of their bits.
void SetFlags(uint32_t bits, DecodedSession* out) {
  const auto next = [&bits] {
    const bool set = bits & 1;
    bits >>= 1;
    return set;
  };
  Session& session = out->session;
  out->has_backend = next();
  session.resumed = next();
  session.client_readable = next();
  session.client_writable = next();
  session.probing = next();
  session.client_hangup = next();
  session.client_error = next();
  session.client_ended = next();
  session.client_shut = next();
  session.backend_readable = next();
  session.backend_writable = next();
  session.backend_hangup = next();
  session.backend_error = next();
  session.backend_broken = next();
  session.close_notify_received = next();
  session.close_notify_sent = next();
  session.key_update_owed = next();
  session.key_update_request = next();
  session.key_update_requested = next();
  session.no_splice_rx = next();
  session.no_splice_tx = next();
}

bool ReadSession(Reader& reader, DecodedSession* out) {
  Session& session = out->session;
  session.id = reader.U64();
  out->age_ms = static_cast<int64_t>(reader.U64());
  out->deadline_left_ms = static_cast<int64_t>(reader.U64());
  session.bytes_from_client = reader.U64();
  session.bytes_to_client = reader.U64();
  session.splice_from = reader.U64();
  // Another version may have other bounds.
  session.rx_window = std::clamp(reader.U32(), kMinWindow, kMaxWindow);
  session.tx_window = std::clamp(reader.U32(), kMinWindow, kMaxWindow);
  session.queued_bytes = reader.U32();
  session.connect_error = static_cast<int>(reader.U32());
  const uint32_t flags = reader.U32();
  SetFlags(flags, out);
  session.suite = SuiteById(reader.U16());
  bool known = Take(reader.U8(), Phase::kClosing, &session.phase);
  known = Take(reader.U8(), Flow::kDone, &session.to_backend_flow) && known;
  known = Take(reader.U8(), Flow::kDone, &session.to_client_flow) && known;
  // It is only told.
  if (!Take(reader.U8(), kLastReason, &session.reason)) session.reason = kLastReason;
  session.alert = static_cast<Alert>(reader.U8());
  reader.U8();
  return known && session.suite && flags >> wire::kFlagCount == 0 && out->age_ms >= 0 &&
         out->age_ms <= wire::kMaxAgeMs && out->deadline_left_ms >= -1 &&
         out->deadline_left_ms <= wire::kMaxLeftMs;
}

bool ReadListener(Reader& reader, ListenerValues* out) {
  out->id = reader.U32();
  out->connect_ms = reader.U32();
  out->idle_ms = reader.U32();
  out->half_closed_ms = reader.U32();
  out->offload.after = reader.U64();
  const bool known = Take(reader.U8(), OffloadMode::kUserspace, &out->offload.mode);
  const uint8_t reset = reader.U8();
  out->reset_on_truncation = reset == 1;
  const size_t name = reader.U16();
  out->name = TextOf(reader.Bytes(name));
  const size_t backend = reader.left();
  out->backend = TextOf(reader.Bytes(backend));
  return known && reset <= 1 && name <= wire::kMaxName && backend <= wire::kMaxText;
}

bool ReadPostHandshake(Reader& reader, PostHandshakeState* out) {
  out->key_updates = reader.U8();
  out->empty_records = reader.U8();
  out->warning_alerts = reader.U8();
  out->renegotiations = reader.U8();
  out->hello_left = reader.U32();
  return out->hello_left <= kMaxClientHello;
}

bool ReadAddress(Reader& reader, PeerAddress* out) {
  reader.Copy(out, sizeof *out);
  const int family = out->family();
  return family == AF_UNSPEC || family == AF_UNIX || family == AF_INET || family == AF_INET6;
}

bool ReadKeys(Reader& reader, TrafficKeys* out) {
  out->sequence = reader.U64();
  out->explicit_nonce = reader.U64();
  out->generation = reader.U32();
  reader.Copy(out->iv, sizeof out->iv);
  reader.Copy(out->key, sizeof out->key);
  reader.Copy(out->secret, sizeof out->secret);
  return true;
}

// What an engine does differs with the reason; what a newer version has is no wish to offload.
bool ReadEngine(Reader& reader, EngineKind* engine, NotOffloaded* why) {
  const bool known = Take(reader.U8(), EngineKind::kKernel, engine);
  if (!Take(reader.U8(), kLastWhy, why)) *why = NotOffloaded::kRefused;
  return known && (*engine == EngineKind::kKernel) == (*why == NotOffloaded::kNone);
}

bool ReadReceiving(Reader& reader, Receiving* out) {
  const bool known = ReadEngine(reader, &out->engine, &out->why);
  out->fault = static_cast<Alert>(reader.U8());
  const uint8_t flags = reader.U8();
  out->suspect = flags & wire::kSuspect;
  out->stuck = flags & wire::kStuck;
  out->keys_owed = flags & wire::kKeysOwed;
  out->quiet = flags & wire::kQuiet;
  out->error = static_cast<int>(reader.U32());
  out->unsampled = reader.U32();
  return known && flags <= wire::kReceivingFlags && out->error >= 0;
}

bool ReadControl(Reader& reader, PendingControl* out) {
  out->type = static_cast<ContentType>(reader.U8());
  out->length = reader.U8();
  reader.Copy(out->content, sizeof out->content);
  const bool handshake = out->type == ContentType::kHandshake;
  return (handshake && out->length <= sizeof out->content) ||
         (out->type == ContentType::kAlert && out->length == 2);
}

bool ReadSending(Reader& reader, Sending* out) {
  constexpr uint16_t kLeastContent = 64;  // RFC 8449 section 4
  bool good = ReadEngine(reader, &out->engine, &out->why);
  out->max_content = reader.U16();
  out->unsampled = reader.U32();
  out->wire_base = reader.U64();
  out->content = reader.U64();
  out->records_before = reader.U64();
  out->control_count = static_cast<uint8_t>(reader.left() / wire::kControlLength);
  for (size_t i = 0; i < out->control_count; ++i)
    good = good && ReadControl(reader, &out->controls[i]);
  return good && out->max_content >= kLeastContent && out->max_content <= kMaxPlaintext;
}

bool ReadEndpoint(Reader& reader, Endpoint* out) {
  const size_t length = reader.U8();
  if (length > sizeof out->storage) return false;
  reader.Copy(&out->storage, length);
  out->length = static_cast<socklen_t>(length);
  out->text = TextOf(reader.Bytes(reader.U8()));
  switch (out->family()) {
    case AF_INET:
      return reader.ok() && length == sizeof(sockaddr_in);
    case AF_INET6:
      return reader.ok() && length == sizeof(sockaddr_in6);
    case AF_UNIX:
      return reader.ok() && length > sizeof(sa_family_t) && length <= sizeof(sockaddr_un);
    default:
      return false;
  }
}

bool ReadBackendAddresses(Reader& reader, Session* session) {
  auto endpoints = std::make_shared<std::vector<Endpoint>>();
  while (reader.left() > 0 && endpoints->size() < wire::kMaxEndpoints) {
    if (!ReadEndpoint(reader, &endpoints->emplace_back())) return false;
  }
  session->addresses_left = static_cast<uint16_t>(endpoints->size());
  session->addresses = std::move(endpoints);
  return session->addresses_left > 0;
}

bool ReadText(std::span<const uint8_t> value, size_t most, std::string* out) {
  *out = TextOf(value.first(std::min(value.size(), most)));
  return value.size() <= most;
}

bool TakeSpan(std::span<const uint8_t> value, size_t most, std::span<const uint8_t>* out) {
  *out = value;
  return value.size() <= most;
}

}  // namespace

bool ReadField(Field type, std::span<const uint8_t> value, DecodedSession* out) {
  Session& session = out->session;
  Reader reader(value);
  bool good = false;
  switch (type) {
    case Field::kSession:
      good = ReadSession(reader, out);
      break;
    case Field::kListener:
      good = ReadListener(reader, &out->listener);
      break;
    case Field::kPostHandshake:
      good = ReadPostHandshake(reader, &session.post_handshake);
      break;
    case Field::kAddresses:
      good = ReadAddress(reader, &session.client_address) &&
             ReadAddress(reader, &session.local_address) &&
             ReadAddress(reader, &session.backend_address);
      break;
    case Field::kReceivingKeys:
      good = ReadKeys(reader, &session.rx.keys);
      break;
    case Field::kSendingKeys:
      good = ReadKeys(reader, &session.tx.keys);
      break;
    case Field::kReceiving:
      good = ReadReceiving(reader, &session.rx);
      break;
    case Field::kSending:
      good = value.size() <= wire::kSendingLength + wire::kMaxControls * wire::kControlLength &&
             ReadSending(reader, &session.tx);
      break;
    case Field::kBackendAddresses:
      good = ReadBackendAddresses(reader, &session);
      break;
    case Field::kGroup:
      return ReadText(value, wire::kMaxGroup, &out->group);
    case Field::kSni:
      return TakeSpan(value, wire::kMaxSni, &out->sni);
    case Field::kPartial:
      return TakeSpan(value, BufferPool::kLargest, &out->partial);
    case Field::kToBackend:
      return TakeSpan(value, BufferPool::kLargest, &out->to_backend);
    case Field::kUnsent:
      return TakeSpan(value, BufferPool::kLargest, &out->unsent);
    case Field::kCookies:
      out->client_cookie = reader.U64();
      out->backend_cookie = reader.U64();
      good = true;
      break;
    case Field::kEnd:
      break;
  }
  return good && reader.ok() && reader.left() == 0;
}

}  // namespace ironsocket
