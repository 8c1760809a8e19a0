// SPDX-License-Identifier: MIT
// Every member of a session is named here, in bindings that don't compile when one is added:
// whoever adds one decides whether it travels.
#include <algorithm>
#include <cassert>
#include <string_view>

#include "handoff/frame.h"
#include "handoff/version.h"
#include "handoff/wire.h"
#include "net/socket_cookie.h"

namespace ironsocket {
namespace {

using wire::Field;
using wire::Writer;

// Fields of one frame, each closed by the next or by End.
class Fields {
 public:
  explicit Fields(uint8_t* frame) : frame_(frame), writer_(frame + wire::kHeader) {}

  Writer& Add(Field type, uint16_t flags = wire::kRequired) {
    Close();
    ++count_;
    writer_.U16(static_cast<uint16_t>(type));
    writer_.U16(flags);
    length_at_ = writer_.at();
    writer_.U32(0);
    return writer_;
  }
  // Left out where it is empty.
  void AddBytes(Field type, std::span<const uint8_t> bytes, uint16_t flags = wire::kRequired) {
    if (!bytes.empty()) Add(type, flags).Bytes(bytes.data(), bytes.size());
  }

  // Writes the header. Returns the length of the frame.
  size_t End() {
    Close();
    const size_t length = static_cast<size_t>(writer_.at() - frame_);
    Writer header(frame_);
    header.Bytes(wire::kMagic, sizeof wire::kMagic);
    header.U16(HandoffVersion());
    header.U16(count_);
    header.U32(static_cast<uint32_t>(length));
    header.U64(wire::Checksum({frame_, length}));
    return length;
  }

 private:
  void Close() {
    if (!length_at_) return;
    Writer(length_at_).U32(static_cast<uint32_t>(writer_.at() - length_at_ - 4));
  }

  uint8_t* const frame_;
  Writer writer_;
  uint8_t* length_at_ = nullptr;
  uint16_t count_ = 0;
};

std::string_view Front(std::string_view text, size_t most) { return text.substr(0, most); }

std::span<const uint8_t> BytesOf(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::span<const uint8_t> BytesOf(const Block& block) {
  return {block.data + block.begin, block.size()};
}

void AddListener(Fields& fields, const Listener& listener) {
  const std::string_view name = Front(listener.name, wire::kMaxName);
  const std::string_view backend = Front(listener.backend, wire::kMaxText);
  Writer& writer = fields.Add(Field::kListener);
  writer.U32(listener.id);
  writer.U32(listener.connect_ms);
  writer.U32(listener.idle_ms);
  writer.U32(listener.half_closed_ms);
  writer.U64(listener.offload.after);
  writer.U8(static_cast<uint8_t>(listener.offload.mode));
  writer.U8(listener.reset_on_truncation);
  writer.U16(static_cast<uint16_t>(name.size()));
  writer.Bytes(name.data(), name.size());
  writer.Bytes(backend.data(), backend.size());
}

void AddPostHandshake(Fields& fields, const PostHandshakeState& state) {
  const auto& [key_updates, empty_records, warning_alerts, renegotiations, hello_left] = state;
  Writer& writer = fields.Add(Field::kPostHandshake);
  writer.U8(key_updates);
  writer.U8(empty_records);
  writer.U8(warning_alerts);
  writer.U8(renegotiations);
  writer.U32(hello_left);
}

// `id`, `version`, `cipher` and `hash_length` don't travel: the suite says them, the id is the
// process's.
void AddKeys(Fields& fields, Field type, const TrafficKeys& keys) {
  const auto& [id, sequence, explicit_nonce, generation, version, cipher, hash_length, iv, key,
               secret] = keys;
  Writer& writer = fields.Add(type);
  writer.U64(sequence);
  writer.U64(explicit_nonce);
  writer.U32(generation);
  writer.Bytes(iv, sizeof iv);
  writer.Bytes(key, sizeof key);
  writer.Bytes(secret, sizeof secret);
}

void AddReceiving(Fields& fields, const Receiving& rx) {
  const auto& [keys, partial, engine, why, fault, error, suspect, stuck, keys_owed, quiet,
               unsampled] = rx;
  AddKeys(fields, Field::kReceivingKeys, keys);
  Writer& writer = fields.Add(Field::kReceiving);
  writer.U8(static_cast<uint8_t>(engine));
  writer.U8(static_cast<uint8_t>(why));
  writer.U8(static_cast<uint8_t>(fault));
  writer.U8(static_cast<uint8_t>((suspect ? wire::kSuspect : 0) | (stuck ? wire::kStuck : 0) |
                                 (keys_owed ? wire::kKeysOwed : 0) | (quiet ? wire::kQuiet : 0)));
  writer.U32(static_cast<uint32_t>(error));
  writer.U32(unsampled);
  fields.AddBytes(Field::kPartial, BytesOf(partial));
}

void AddSending(Fields& fields, const Sending& tx) {
  // fin_follows only saves a packet where nothing comes in between: it does not go along.
  const auto& [keys, unsent, max_content, engine, why, control_count, fin_follows, controls,
               wire_base, content, records_before, unsampled] = tx;
  static_assert(std::extent_v<decltype(tx.controls)> == wire::kMaxControls);
  AddKeys(fields, Field::kSendingKeys, keys);
  Writer& writer = fields.Add(Field::kSending);
  writer.U8(static_cast<uint8_t>(engine));
  writer.U8(static_cast<uint8_t>(why));
  writer.U16(max_content);
  writer.U32(unsampled);
  writer.U64(wire_base);
  writer.U64(content);
  writer.U64(records_before);
  for (const PendingControl& control : std::span(controls).first(control_count)) {
    const auto& [type, length, bytes] = control;
    static_assert(2 + sizeof bytes == wire::kControlLength);
    writer.U8(static_cast<uint8_t>(type));
    writer.U8(length);
    writer.Bytes(bytes, sizeof bytes);
  }
  fields.AddBytes(Field::kUnsent, BytesOf(unsent));
}

// Those that are still to be tried, the one that is being tried first.
void AddBackendAddresses(Fields& fields, const Session& session) {
  const auto& all = *session.addresses;
  const size_t count = std::min<size_t>(session.addresses_left, wire::kMaxEndpoints);
  Writer& writer = fields.Add(Field::kBackendAddresses);
  for (size_t i = 0; i < count; ++i) {
    const Endpoint& endpoint = all[(session.address_index + i) % all.size()];
    const std::string_view text = Front(endpoint.text, wire::kMaxEndpointText);
    writer.U8(static_cast<uint8_t>(endpoint.length));
    writer.Bytes(&endpoint.storage, endpoint.length);
    writer.U8(static_cast<uint8_t>(text.size()));
    writer.Bytes(text.data(), text.size());
  }
}

// Left out where the kernel does not tell them.
void AddCookies(Fields& fields, const Session& session) {
  const uint64_t client = CookieOf(session.client.get());
  if (client == 0) return;
  Writer& writer = fields.Add(Field::kCookies, 0);
  writer.U64(client);
  writer.U64(session.backend.valid() ? CookieOf(session.backend.get()) : 0);
}

// In the order of their bits.
uint32_t FlagsOf(const Session& session) {
  const bool flags[] = {
      session.backend.valid(),      session.resumed,          session.client_readable,
      session.client_writable,      session.probing,          session.client_hangup,
      session.client_error,         session.client_ended,     session.client_shut,
      session.backend_readable,     session.backend_writable, session.backend_hangup,
      session.backend_error,        session.backend_broken,   session.close_notify_received,
      session.close_notify_sent,    session.key_update_owed,  session.key_update_request,
      session.key_update_requested, session.no_splice_rx,     session.no_splice_tx};
  static_assert(std::size(flags) == wire::kFlagCount);
  uint32_t bits = 0;
  for (size_t i = 0; i < std::size(flags); ++i) bits |= static_cast<uint32_t>(flags[i]) << i;
  return bits;
}

// Room for all of it; what texts and addresses may take is counted in full.
size_t MostBytes(const Session& session) {
  constexpr size_t kFixed = 4096;
  constexpr size_t kEndpoint = 2 + sizeof(sockaddr_storage) + wire::kMaxEndpointText;
  const size_t endpoints = session.phase == Phase::kConnecting ? wire::kMaxEndpoints : 0;
  return kFixed + endpoints * kEndpoint + session.rx.partial.size() + session.tx.unsent.size() +
         session.to_backend.size();
}
static_assert(4096 + wire::kMaxEndpoints * 512 + 3 * BufferPool::kLargest <= wire::kMaxFrame);

}  // namespace

void EncodeSession(const Session& session, int64_t now_ms, FrameBytes* out) {
  // Not on their way: lists and queues, descriptors, what a fresh turn finds out by itself.
  const auto& [timer, run_next, all_previous, all_next, starved_next, id, listener, client, backend,
               client_address, local_address, backend_address, addresses, address_index,
               addresses_left, sni, rx, tx, to_backend, post_handshake, rx_window, tx_window,
               accepted_ms, bytes_from_client, bytes_to_client, splice_from, suite, group,
               connect_error, queued_bytes, phase, to_backend_flow, to_client_flow, reason, alert,
               queued, moving, stays, late, dead, resumed, client_readable, client_writable,
               probing, starved, client_hangup, client_error, client_ended, client_shut,
               backend_readable, backend_writable, backend_hangup, backend_error, backend_broken,
               close_notify_received, close_notify_sent, key_update_owed, key_update_request,
               key_update_requested, no_splice_rx, no_splice_tx] = session;
  assert(!dead);
  const size_t start = out->size();
  out->resize(start + MostBytes(session));
  Fields fields(out->data() + start);
  Writer& writer = fields.Add(Field::kSession);
  writer.U64(id);
  writer.U64(static_cast<uint64_t>(std::clamp<int64_t>(now_ms - accepted_ms, 0, wire::kMaxAgeMs)));
  writer.U64(static_cast<uint64_t>(
      timer.armed() ? std::clamp<int64_t>(timer.deadline_ms - now_ms, 0, wire::kMaxLeftMs) : -1));
  writer.U64(bytes_from_client);
  writer.U64(bytes_to_client);
  writer.U64(splice_from);
  writer.U32(rx_window);
  writer.U32(tx_window);
  writer.U32(queued_bytes);
  writer.U32(static_cast<uint32_t>(connect_error));
  writer.U32(FlagsOf(session));
  writer.U16(suite->id);
  writer.U8(static_cast<uint8_t>(phase));
  writer.U8(static_cast<uint8_t>(to_backend_flow));
  writer.U8(static_cast<uint8_t>(to_client_flow));
  writer.U8(static_cast<uint8_t>(reason));
  writer.U8(static_cast<uint8_t>(alert));
  writer.U8(0);
  AddListener(fields, *listener);
  AddPostHandshake(fields, post_handshake);
  fields.Add(Field::kAddresses);
  for (const PeerAddress* address : {&client_address, &local_address, &backend_address}) {
    static_assert(sizeof *address == wire::kAddressLength);
    writer.Bytes(address, sizeof *address);
  }
  AddReceiving(fields, rx);
  AddSending(fields, tx);
  fields.AddBytes(Field::kGroup, BytesOf(Front(group, wire::kMaxGroup)), 0);
  fields.AddBytes(Field::kSni, BytesOf(sni).first(std::min(sni.size(), wire::kMaxSni)), 0);
  if (phase == Phase::kConnecting) AddBackendAddresses(fields, session);
  fields.AddBytes(Field::kToBackend, BytesOf(to_backend));
  AddCookies(fields, session);
  fields.Add(static_cast<Field>(wire::kGrease + id % wire::kGreaseNumbers), 0).U32(0);
  out->resize(start + fields.End());
}

}  // namespace ironsocket
