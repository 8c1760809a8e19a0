// SPDX-License-Identifier: MIT
// A session: one client whose handshake is done, its keys, its backend and the bytes between them.
// It belongs to one relay thread. Everything in it is plain data or a descriptor; under 1 KiB.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "handshake/result.h"
#include "listener.h"
#include "loop/buffer_pool.h"
#include "loop/timers.h"
#include "net/address.h"
#include "net/unique_fd.h"
#include "record/engine.h"
#include "record/post_handshake.h"

namespace ironsocket {

// What a handshake thread gives to a relay thread.
struct Established {
  uint64_t id = 0;
  std::shared_ptr<Listener> listener;
  UniqueFd client;
  PeerAddress client_address;
  PeerAddress local_address;
  int64_t accepted_ms = 0;
  int ulp_error = 0;  // errno with which the socket did not get the ULP "tls"
  bool late = false;  // the worker had left its listeners when the handshake ended
  HandshakeResult tls;
  std::vector<uint8_t> leftover;  // bytes of records that were read past the handshake
  std::vector<uint8_t> unsent;  // bytes of the handshake's last flight that the socket did not take
};

enum class Phase : uint8_t {
  kConnecting,  // waits for the backend
  kRelaying,    // bytes flow; one direction may be done (half-closed)
  kClosing,     // the backend is gone; what the client still has to get is sent, then its FIN is
                // awaited
};

// One direction of the relay.
enum class Flow : uint8_t {
  kOpen,
  kEnding,  // the source has ended; what was read is still on its way
  kDone,    // the end was passed on
};

// Why a session ended, for log and counters.
enum class CloseReason : uint8_t {
  kNone,
  kClosed,     // both directions ended in order
  kTruncated,  // the client's FIN came without close_notify
  kClientReset,
  kClientAlert,    // the client sent a fatal alert
  kProtocolFault,  // the client broke TLS; the alert that was sent says how
  kBackendReset,
  kBackendFailed,  // no connection to the backend
  kConnectTimeout,
  kIdleTimeout,
  kHalfClosedTimeout,
  kNoRekey,  // new keys were due, and the kernel that has the session can't change them
  kStopped,  // the worker ended
  kDrained,  // ended by drain or by the operator
  kInternalError,
};
const char* ReasonName(CloseReason reason);

struct Session;
// "kernel", "kernel-tx", "kernel-rx" or "userspace": who carries it, or will from the next record
// boundary on.
const char* EnginesName(const Session& session);

struct Session {
  TimerNode timer;  // first: a TimerNode* is a Session*
  Session* run_next = nullptr;
  Session* all_previous = nullptr;
  Session* all_next = nullptr;
  Session* starved_next = nullptr;

  uint64_t id = 0;
  std::shared_ptr<Listener> listener;
  UniqueFd client;
  UniqueFd backend;
  PeerAddress client_address;
  PeerAddress local_address;
  PeerAddress backend_address;
  Endpoints addresses;  // while connecting
  uint16_t address_index = 0;
  uint16_t addresses_left = 0;
  Block sni;

  Receiving rx;
  Sending tx;
  Block to_backend;  // opened, not yet accepted by the backend
  PostHandshakeState post_handshake;
  uint32_t rx_window = 0;  // bytes to read in one go; follows what the other side takes
  uint32_t tx_window = 0;

  int64_t accepted_ms = 0;
  uint64_t bytes_from_client = 0;
  uint64_t bytes_to_client = 0;
  uint64_t splice_from = 0;  // where in bytes_from_client its records may be large again
  const Suite* suite = nullptr;
  const char* group = "";
  int connect_error = 0;
  uint32_t queued_bytes = 0;  // in the kernel's send queues when a timeout last looked

  Phase phase = Phase::kConnecting;
  Flow to_backend_flow = Flow::kOpen;
  Flow to_client_flow = Flow::kOpen;
  CloseReason reason = CloseReason::kNone;
  Alert alert = Alert::kNone;  // sent or received with `reason`

  bool queued : 1 = false;
  bool moving : 1 = false;  // on its way to another worker: not to be touched
  bool stays : 1 = false;   // the other worker did not take it
  bool late : 1 = false;    // Established::late
  bool dead : 1 = false;
  bool resumed : 1 = false;
  bool client_readable : 1 = true;
  bool client_writable : 1 = true;
  bool probing : 1 =
      false;  // a timeout has passed, but bytes were queued: is a peer still reading?
  bool starved : 1 = false;        // waits for memory or descriptors, or looks again soon
  bool client_hangup : 1 = false;  // EPOLLRDHUP seen: read on until the end shows
  bool client_error : 1 = false;   // EPOLLERR seen
  bool client_ended : 1 = false;   // read the client's FIN
  bool client_shut : 1 = false;    // our FIN is on its way
  bool backend_readable : 1 = false;
  bool backend_writable : 1 = false;
  bool backend_hangup : 1 = false;
  bool backend_error : 1 = false;
  bool backend_broken : 1 = false;  // it takes no more bytes, its answer may still come
  bool close_notify_received : 1 = false;
  bool close_notify_sent : 1 = false;
  bool key_update_owed : 1 = false;       // the client asked for our next generation
  bool key_update_request : 1 = false;    // ask for the client's in our next one
  bool key_update_requested : 1 = false;  // asked already for this receiving generation
  bool no_splice_rx : 1 = false;          // the backend's socket can't
  bool no_splice_tx : 1 = false;
};

static_assert(sizeof(Session) <= 768);

}  // namespace ironsocket
