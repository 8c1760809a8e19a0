// SPDX-License-Identifier: MIT
// The engine of a worker: handshake threads, relay threads, and what they share. JavaScript
// (addon.cc) sends commands down, gets few events up and reads counters by snapshot; payload never
// meets it. All methods are called by the JavaScript thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "handoff/pauses.h"
#include "listener_values.h"
#include "log/log.h"
#include "net/proxy_header.h"
#include "net/unique_fd.h"

namespace ironsocket {

// Sessions in one batch to another worker: few, because each waits for the whole batch's way there.
inline constexpr uint32_t kBatchSessions = 16;

// Order and names are those of `counterNames` in src/native.ts.
enum class Counter : size_t {
  kConnectionsAccepted,
  kConnectionsOpen,     // gauge: accepted and not yet ended, handshakes included
  kConnectionsOpenMax,  // highest value of the gauge
  kConnectionsRefused,  // over max_connections
  kHandshakesOpen,      // gauge
  kHandshakesCompleted,
  kHandshakesResumed,
  kHandshakesFailed,
  kHandshakesTimedOut,
  kSessionsOpen,  // gauge: handshake done, not yet ended
  kSessionsTotal,
  kBackendConnectFailed,
  kBytesFromClient,  // plaintext
  kBytesToClient,
  kKeyUpdatesReceived,
  kKeyUpdatesSent,
  kTruncations,
  kSessionsKernelTx,  // gauges: sessions whose direction the kernel carries
  kSessionsKernelRx,
  kSessionsKernel,  // both directions
  kOffloadsTx,      // directions that the kernel was given
  kOffloadsRx,
  kOffloadsRefused,
  kRekeysImpossible,  // sessions that ended because the kernel that has them can't change keys
  kSessionsGiven,     // to another worker, and of these by who carries them: both directions the
                      // kernel, one of them
  kSessionsGivenKernel,
  kSessionsGivenKernelTx,
  kSessionsGivenKernelRx,
  kSessionsTaken,  // from another worker, and of these the same
  kSessionsTakenKernel,
  kSessionsTakenKernelTx,
  kSessionsTakenKernelRx,
  kSessionsLate,       // their handshake ended when this worker had left its listeners
  kSessionsLateGiven,  // of these, to another worker
  kSessionsStaying,    // gauge: the other worker has refused them
  kHandoffsOpen,       // gauge: pairs to another worker, either side
  kAcceptPauses,
  kLogLinesDropped,
  kSessionSlots,  // gauges: memory of relay threads that is in use: of sessions, blocks for bytes
  kBufferBlocks,
  kCount,
};

struct CertificateSource {
  int chain_fd = -1;  // borrowed memfds with PEM
  int key_fd = -1;
};

struct ListenerPlan : ListenerValues {
  int fd = -1;                                  // borrowed listening socket; duplicated
  std::vector<CertificateSource> certificates;  // the first is the default; several with the same
                                                // name: ECDSA and RSA side by side
  std::string min_version;                      // "1.2" or "1.3"
  std::string max_version;
  std::vector<std::string> ciphers;  // IANA suite names; empty: the default list
  std::vector<std::string> alpn;     // in order of preference; empty: off
  std::vector<std::string>
      backend_addresses;  // Endpoint texts; may be empty while the name can't be resolved
  ProxyProtocol proxy_protocol = ProxyProtocol::kNone;
  uint32_t handshake_ms = 10'000;
};

struct Plan {
  std::vector<ListenerPlan> listeners;
  uint32_t max_connections = 0;
  // Connections that another worker is about to hand over, for which room is kept; 0: as before.
  uint32_t expected_connections = 0;
  int ticket_keys_fd = -1;  // borrowed memfd of TicketKeys; -1: no tickets
};

struct EngineEvent {
  enum class Type : uint8_t {
    kDrained,        // after StopAccepting: no connection is left
    kInventory,      // after TakeInventory: InventoryFds() has it
    kBackendFailed,  // every address of `listener`'s backend failed: resolve again (at most one per
                     // second and listener)
  };
  Type type;
  std::string listener = {};  // its name
  int error = 0;              // errno of the last address that failed
};

struct EngineOptions {
  uint32_t handshake_threads = 1;
  uint32_t relay_threads = 1;
  uint64_t key_update_records =
      0;  // start our own KeyUpdate after so many records; 0: the AEAD limit (tests lower it)
  uint32_t worker = 0;   // number of this worker in its service, below kMostWorkers
  int counters_fd = -1;  // borrowed page to count in (CounterPage::Make); -1: this process's memory
  // False: as on a kernel that refuses the keys of this direction (for tests).
  bool kernel_tx = true;
  bool kernel_rx = true;
};

class Engine {
 public:
  // Called by native threads, never concurrently with itself; must only wake the JavaScript thread
  // (and return at once).
  using EventSink = std::function<void(const EngineEvent&)>;

  // Starts the threads. `log` must outlive the engine.
  Engine(const EngineOptions& options, Log& log, EventSink sink);
  ~Engine();  // Close()

  // Applies a plan as a whole, or nothing: false and `*error` says what is wrong. Connections keep
  // the plan they were accepted under.
  bool Configure(const Plan& plan, std::string* error);
  // Whether Configure() would apply it; changes nothing.
  bool Check(const Plan& plan, std::string* error);
  // New addresses for a listener's backend. False for an unknown listener or a text that is no
  // address.
  bool SetBackend(uint32_t listener, const std::vector<std::string>& addresses);
  // Takes what waits in the accept queues, then leaves the listeners. kDrained follows when the
  // last connection has ended.
  void StopAccepting();
  // Sessions go to another worker: each relay thread gives its own to the thread that has the other
  // end of its pair (SOCK_SEQPACKET), also those that come later. As many pairs as relay threads;
  // the recipient may have another number of them. An engine that takes no longer gives. For
  // tests: fewer in a batch, and batches that are answered before the next one waits for the
  // donor's end.
  void GiveSessions(std::vector<UniqueFd> pairs, uint32_t most = kBatchSessions);
  void TakeSessions(std::vector<UniqueFd> pairs, uint32_t answers = UINT32_MAX);
  // Why sessions were not given, in words; "" where none was refused.
  const char* HandoffRefusal() const;
  size_t relay_threads() const;
  // Relay threads that still give; 0: what is here stays.
  size_t giving_threads() const;
  // Has every relay thread write down its sessions, in small slices; kInventory follows. False: one
  // is under way.
  bool TakeInventory();
  // One memfd for each thread, but for those that had no memory for one: see handoff/inventory.h.
  std::vector<UniqueFd> InventoryFds();
  // Of the sessions that were taken.
  PauseSummary HandoffPauses() const;
  // Ends every connection: an alert to the client, because its answer may be cut, RST to the
  // backend. kDrained follows.
  void EndSessions();
  void Snapshot(uint64_t* out, size_t count) const;
  // Stops and joins all threads; connections that are left are reset. Idempotent; also called at
  // exit.
  void Close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ironsocket
