// SPDX-License-Identifier: MIT
// Sessions of every kind for the tests of the handoff, and what is in a session as text. Here too
// every member has to be named, by bindings that don't compile when one is added.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/un.h>

#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "loop/timers.h"
#include "record-oracle.h"
#include "relay/session.h"
#include "relay/transfer.h"

inline constexpr int64_t kMadeNow = 5'000'000'000;

inline constexpr uint16_t kNegotiated[] = {0x1301, 0x1302, 0x1303, 0x1304, 0xC02B, 0xC02F,
                                           0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC0AC};

struct Shape {
  uint16_t suite = 0x1301;
  ironsocket::Phase phase = ironsocket::Phase::kRelaying;
  bool kernel_rx = false;
  bool kernel_tx = false;
  size_t partial = 0;  // bytes; userspace only
  size_t to_backend = 0;
  size_t unsent = 0;
};

// A session of `shape`; everything else is drawn from the seed.
class MadeSession {
 public:
  MadeSession(const Shape& shape, uint64_t seed) : random_(seed) {
    session.id = random_();
    session.suite = ironsocket::SuiteById(shape.suite);
    session.phase = shape.phase;
    session.accepted_ms = kMadeNow - static_cast<int64_t>(Below(1u << 30));
    MakeListener();
    MakeAddresses();
    MakeNumbers();
    MakeFlags();
    MakeReceiving(shape);
    MakeSending(shape);
    Fill(&session.to_backend, shape.to_backend);
    static const char* const kGroups[] = {"", "X25519", "X25519MLKEM768", "secp256r1"};
    session.group = kGroups[Below(4)];
    const Bytes sni = Pattern(Below(3) == 0 ? 0 : Below(256), static_cast<uint32_t>(seed));
    REQUIRE(pool_.Append(&session.sni, sni));
    if (shape.phase != ironsocket::Phase::kRelaying || Below(3) > 0) {
      timers_.Arm(&session.timer, static_cast<uint32_t>(Below(100'000)), kMadeNow);
    }
  }
  ~MadeSession() {
    session.timer.Cancel();
    for (auto* block :
         {&session.sni, &session.rx.partial, &session.to_backend, &session.tx.unsent}) {
      pool_.Release(block);
    }
  }

 private:
  ironsocket::BufferPool pool_;
  ironsocket::Timers timers_;
  std::mt19937_64 random_;

 public:
  ironsocket::Session session{};

 private:
  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool Coin() { return Below(2) == 1; }
  void FillBytes(void* to, size_t size) {
    for (size_t i = 0; i < size; ++i)
      static_cast<uint8_t*>(to)[i] = static_cast<uint8_t>(random_());
  }
  void Fill(ironsocket::Block* block, size_t size) {
    const Bytes bytes = Pattern(size, static_cast<uint32_t>(random_()));
    REQUIRE(pool_.Append(block, bytes));
    // Bytes in the middle of a block.
    if (size > 2 && Coin()) ++block->begin;
  }
  void MakeListener() {
    auto listener = std::make_shared<ironsocket::Listener>();
    listener->id = static_cast<uint32_t>(random_());
    listener->name = std::string(Below(255), 'n');
    listener->backend = std::string(Below(1000), 'b');
    listener->connect_ms = static_cast<uint32_t>(random_());
    listener->idle_ms = static_cast<uint32_t>(random_());
    listener->half_closed_ms = static_cast<uint32_t>(random_());
    listener->reset_on_truncation = Coin();
    listener->offload = {static_cast<ironsocket::OffloadMode>(Below(3)), random_()};
    session.listener = std::move(listener);
  }
  ironsocket::PeerAddress MakeAddress() {
    ironsocket::PeerAddress address;
    static constexpr sa_family_t kFamilies[] = {AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC};
    address.base.sa_family = kFamilies[Below(4)];
    if (address.family() == AF_INET) FillBytes(&address.v4.sin_port, 6);
    if (address.family() == AF_INET6) FillBytes(&address.v6.sin6_port, 26);
    return address;
  }
  void MakeAddresses() {
    session.client_address = MakeAddress();
    session.local_address = MakeAddress();
    session.backend_address = MakeAddress();
    if (session.phase != ironsocket::Phase::kConnecting) return;
    static const char* const kPlaces[] = {"127.0.0.1:80", "[::1]:443", "unix:/run/x",
                                          "unix:@abstract", "10.0.0.1:1"};
    auto endpoints = std::make_shared<std::vector<ironsocket::Endpoint>>();
    for (size_t i = 0, count = 1 + Below(5); i < count; ++i) {
      endpoints->push_back(*ironsocket::Endpoint::Parse(kPlaces[Below(5)]));
    }
    session.address_index = static_cast<uint16_t>(Below(endpoints->size()));
    session.addresses_left = static_cast<uint16_t>(1 + Below(endpoints->size()));
    session.addresses = std::move(endpoints);
  }
  void MakeNumbers() {
    session.rx_window = ironsocket::kMinWindow << Below(5);
    session.tx_window = ironsocket::kMinWindow << Below(5);
    session.bytes_from_client = random_();
    session.bytes_to_client = random_();
    session.splice_from = random_();
    session.connect_error = static_cast<int>(Below(134));
    session.queued_bytes = static_cast<uint32_t>(random_());
    session.to_backend_flow = static_cast<ironsocket::Flow>(Below(3));
    session.to_client_flow = static_cast<ironsocket::Flow>(Below(3));
    session.reason = static_cast<ironsocket::CloseReason>(Below(15));
    session.alert = static_cast<ironsocket::Alert>(Below(256));
    session.post_handshake = {static_cast<uint8_t>(Below(33)), static_cast<uint8_t>(Below(33)),
                              static_cast<uint8_t>(Below(5)), static_cast<uint8_t>(Below(2)),
                              static_cast<uint32_t>(Below(128 * 1024 + 1))};
  }
  void MakeFlags() {
    const bool backend = session.phase == ironsocket::Phase::kRelaying ||
                         (session.phase == ironsocket::Phase::kConnecting && Coin());
    if (backend) session.backend = ironsocket::UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC));
    session.resumed = Coin();
    session.client_readable = Coin();
    session.client_writable = Coin();
    session.probing = Coin();
    session.client_hangup = Coin();
    session.client_error = Coin();
    session.client_ended = Coin();
    session.client_shut = Coin();
    session.backend_readable = Coin();
    session.backend_writable = Coin();
    session.backend_hangup = Coin();
    session.backend_error = Coin();
    session.backend_broken = Coin();
    session.close_notify_received = Coin();
    session.close_notify_sent = Coin();
    session.key_update_owed = Coin();
    session.key_update_request = Coin();
    session.key_update_requested = Coin();
    session.no_splice_rx = Coin();
    session.no_splice_tx = Coin();
  }
  void MakeKeys(ironsocket::TrafficKeys* keys) {
    *keys = KeysOf(session.suite->id, static_cast<uint32_t>(Below(1000)));
    keys->sequence = random_();
    keys->explicit_nonce = random_();
    keys->generation = static_cast<uint32_t>(random_());
  }
  ironsocket::NotOffloaded Why(bool kernel) {
    return static_cast<ironsocket::NotOffloaded>(kernel ? 0 : 1 + Below(9));
  }
  void MakeReceiving(const Shape& shape) {
    ironsocket::Receiving& rx = session.rx;
    MakeKeys(&rx.keys);
    if (shape.kernel_rx) rx.engine = ironsocket::EngineKind::kKernel;
    rx.why = Why(shape.kernel_rx);
    rx.fault = Coin() ? ironsocket::Alert::kNone : ironsocket::Alert::kBadRecordMac;
    rx.error = static_cast<int>(Below(134));
    rx.suspect = Coin();
    rx.stuck = Coin();
    rx.keys_owed = Coin();
    rx.quiet = Coin();
    rx.unsampled = static_cast<uint32_t>(random_());
    if (!shape.kernel_rx) Fill(&rx.partial, shape.partial);
  }
  void MakeSending(const Shape& shape) {
    ironsocket::Sending& tx = session.tx;
    MakeKeys(&tx.keys);
    tx.max_content = static_cast<uint16_t>(512 << Below(6));
    if (shape.kernel_tx) tx.engine = ironsocket::EngineKind::kKernel;
    tx.why = Why(shape.kernel_tx);
    tx.control_count = static_cast<uint8_t>(shape.kernel_tx ? Below(3) : 0);
    for (size_t i = 0; i < tx.control_count; ++i) {
      const bool alert = Coin();
      tx.controls[i].type =
          alert ? ironsocket::ContentType::kAlert : ironsocket::ContentType::kHandshake;
      tx.controls[i].length = static_cast<uint8_t>(alert ? 2 : Coin() ? 5 : 0);
      FillBytes(tx.controls[i].content, 5);
    }
    tx.wire_base = random_();
    tx.content = random_();
    tx.records_before = random_();
    tx.unsampled = static_cast<uint32_t>(random_());
    Fill(&tx.unsent, shape.unsent);
  }
};

// "name=value" of everything that two sessions which are the same have the same.
class SessionText {
 public:
  static std::vector<std::string> Of(const ironsocket::Session& session, int64_t now_ms,
                                     int64_t deadline_left_ms) {
    SessionText text;
    text.AddSession(session, now_ms, deadline_left_ms);
    return std::move(text.lines_);
  }
  static std::vector<std::string> Of(const ironsocket::Session& session, int64_t now_ms) {
    const bool armed = session.timer.armed();
    return Of(session, now_ms, armed ? session.timer.deadline_ms - now_ms : -1);
  }

 private:
  template <typename Number>
  void Add(const std::string& name, Number value) {
    lines_.push_back(name + "=" + std::to_string(static_cast<uint64_t>(value)));
  }
  void Add(const std::string& name, std::span<const uint8_t> bytes) {
    std::string text = name + "=";
    if (bytes.size() <= 64) {
      char hex[3];
      for (const uint8_t byte : bytes) {
        std::snprintf(hex, sizeof hex, "%02x", byte);
        text += hex;
      }
    } else {  // FNV-1a
      uint64_t hash = 0xcbf29ce484222325;
      for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
      text += std::to_string(bytes.size()) + " bytes " + std::to_string(hash);
    }
    lines_.push_back(std::move(text));
  }
  void Add(const std::string& name, const ironsocket::Block& block) {
    Add(name, std::span<const uint8_t>(block.data + block.begin, block.size()));
  }
  void AddText(const std::string& name, const std::string& value) {
    lines_.push_back(name + "=" + value);
  }
  void Add(const std::string& name, const ironsocket::PeerAddress& address) {
    Add(name, std::span<const uint8_t>(reinterpret_cast<const uint8_t*>(&address), sizeof address));
  }

  void AddKeys(const std::string& name, const ironsocket::TrafficKeys& keys) {
    const auto& [id, sequence, explicit_nonce, generation, version, cipher, hash_length, iv, key,
                 secret] = keys;
    Add(name + ".has_id", id != 0);
    Add(name + ".sequence", sequence);
    Add(name + ".explicit_nonce", explicit_nonce);
    Add(name + ".generation", generation);
    Add(name + ".version", version);
    Add(name + ".cipher", cipher);
    Add(name + ".hash_length", hash_length);
    Add(name + ".iv", std::span<const uint8_t>(iv));
    Add(name + ".key", std::span<const uint8_t>(key));
    Add(name + ".secret", std::span<const uint8_t>(secret));
  }
  void AddReceiving(const ironsocket::Receiving& rx) {
    const auto& [keys, partial, engine, why, fault, error, suspect, stuck, keys_owed, quiet,
                 unsampled] = rx;
    AddKeys("rx.keys", keys);
    Add("rx.partial", partial);
    Add("rx.engine", engine);
    Add("rx.why", why);
    Add("rx.fault", fault);
    Add("rx.error", error);
    Add("rx.suspect", suspect);
    Add("rx.stuck", stuck);
    Add("rx.keys_owed", keys_owed);
    Add("rx.quiet", quiet);
    Add("rx.unsampled", unsampled);
  }
  void AddSending(const ironsocket::Sending& tx) {
    const auto& [keys, unsent, max_content, engine, why, control_count, fin_follows, controls,
                 wire_base, content, records_before, unsampled] = tx;
    AddKeys("tx.keys", keys);
    Add("tx.unsent", unsent);
    Add("tx.max_content", max_content);
    Add("tx.engine", engine);
    Add("tx.why", why);
    Add("tx.control_count", control_count);
    for (size_t i = 0; i < control_count; ++i) {
      const auto& [type, length, bytes] = controls[i];
      const std::string name = "tx.controls" + std::to_string(i);
      Add(name + ".type", type);
      Add(name + ".length", length);
      Add(name + ".content", std::span<const uint8_t>(bytes));
    }
    Add("tx.wire_base", wire_base);
    Add("tx.content", content);
    Add("tx.records_before", records_before);
    Add("tx.unsampled", unsampled);
  }
  void AddListener(const ironsocket::Listener& listener) {
    // Members are partly private: whoever changes the size looks into native/handoff/ as well.
#if defined(__x86_64__) && defined(__GLIBCXX__)
    static_assert(sizeof(ironsocket::Listener) == 216);
#endif
    Add("listener.id", listener.id);
    AddText("listener.name", listener.name);
    AddText("listener.backend", listener.backend);
    Add("listener.connect_ms", listener.connect_ms);
    Add("listener.idle_ms", listener.idle_ms);
    Add("listener.half_closed_ms", listener.half_closed_ms);
    Add("listener.reset_on_truncation", listener.reset_on_truncation);
    Add("listener.offload.mode", listener.offload.mode);
    Add("listener.offload.after", listener.offload.after);
  }
  void AddPostHandshake(const ironsocket::PostHandshakeState& state) {
    const auto& [key_updates, empty_records, warning_alerts, renegotiations, hello_left] = state;
    Add("key_updates", key_updates);
    Add("empty_records", empty_records);
    Add("warning_alerts", warning_alerts);
    Add("renegotiations", renegotiations);
    Add("hello_left", hello_left);
  }
  // In the order in which they are tried.
  void AddEndpoints(const ironsocket::Session& session) {
    for (size_t i = 0; i < session.addresses_left; ++i) {
      const auto& all = *session.addresses;
      const ironsocket::Endpoint& endpoint = all[(session.address_index + i) % all.size()];
      const std::string name = "addresses" + std::to_string(i);
      AddText(name, endpoint.text);
      Add(name + ".sockaddr",
          std::span<const uint8_t>(reinterpret_cast<const uint8_t*>(&endpoint.storage),
                                   endpoint.length));
    }
  }

  void AddSession(const ironsocket::Session& session, int64_t now_ms, int64_t deadline_left_ms) {
    // Lists, queues and descriptors are the process's own.
    const auto& [timer, run_next, all_previous, all_next, starved_next, id, listener, client,
                 backend, client_address, local_address, backend_address, addresses, address_index,
                 addresses_left, sni, rx, tx, to_backend, post_handshake, rx_window, tx_window,
                 accepted_ms, bytes_from_client, bytes_to_client, splice_from, suite, group,
                 connect_error, queued_bytes, phase, to_backend_flow, to_client_flow, reason, alert,
                 queued, moving, stays, late, dead, resumed, client_readable, client_writable,
                 probing, starved, client_hangup, client_error, client_ended, client_shut,
                 backend_readable, backend_writable, backend_hangup, backend_error, backend_broken,
                 close_notify_received, close_notify_sent, key_update_owed, key_update_request,
                 key_update_requested, no_splice_rx, no_splice_tx] = session;
    Add("id", id);
    AddListener(*listener);
    Add("has_backend", backend.valid());
    Add("client_address", client_address);
    Add("local_address", local_address);
    Add("backend_address", backend_address);
    AddEndpoints(session);
    Add("sni", sni);
    AddReceiving(rx);
    AddSending(tx);
    Add("to_backend", to_backend);
    AddPostHandshake(post_handshake);
    Add("rx_window", rx_window);
    Add("tx_window", tx_window);
    Add("age_ms", now_ms - accepted_ms);
    lines_.push_back("deadline_left_ms=" + std::to_string(deadline_left_ms));
    Add("bytes_from_client", bytes_from_client);
    Add("bytes_to_client", bytes_to_client);
    Add("splice_from", splice_from);
    AddText("suite", suite->name);
    AddText("group", group);
    Add("connect_error", connect_error);
    Add("queued_bytes", queued_bytes);
    Add("phase", phase);
    Add("to_backend_flow", to_backend_flow);
    Add("to_client_flow", to_client_flow);
    Add("reason", reason);
    Add("alert", alert);
    Add("resumed", resumed);
    Add("client_readable", client_readable);
    Add("client_writable", client_writable);
    Add("probing", probing);
    Add("client_hangup", client_hangup);
    Add("client_error", client_error);
    Add("client_ended", client_ended);
    Add("client_shut", client_shut);
    Add("backend_readable", backend_readable);
    Add("backend_writable", backend_writable);
    Add("backend_hangup", backend_hangup);
    Add("backend_error", backend_error);
    Add("backend_broken", backend_broken);
    Add("close_notify_received", close_notify_received);
    Add("close_notify_sent", close_notify_sent);
    Add("key_update_owed", key_update_owed);
    Add("key_update_request", key_update_request);
    Add("key_update_requested", key_update_requested);
    Add("no_splice_rx", no_splice_rx);
    Add("no_splice_tx", no_splice_tx);
  }

  std::vector<std::string> lines_;
};
