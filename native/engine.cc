// SPDX-License-Identifier: MIT
#include "engine.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <latch>
#include <map>
#include <mutex>
#include <utility>

#include "engine_state.h"
#include "handshake/handshake_thread.h"
#include "handshake/ticket_keys.h"
#include "listener.h"
#include "net/address.h"
#include "net/socket_options.h"
#include "relay/relay_thread.h"

namespace ironsocket {
namespace {

constexpr int64_t kBackendFailedEveryMs = 1000;
constexpr uint64_t kFdTable = 65'536;
constexpr size_t kSpareFds = 32;  // log, eventfds, files that are opened in passing
// A donor's both ends of its pair and the memfd of its batch; a recipient's end, the same again on
// its way, and the memfd.
constexpr size_t kHandoffFdsPerThread = 3;

bool ParseAddresses(const std::vector<std::string>& texts, Endpoints* out) {
  auto addresses = std::make_shared<std::vector<Endpoint>>();
  for (const std::string& text : texts) {
    std::optional<Endpoint> endpoint = Endpoint::Parse(text);
    if (!endpoint) return false;
    addresses->push_back(std::move(*endpoint));
  }
  *out = std::move(addresses);
  return true;
}

bool IsWildcard(const PeerAddress& address) {
  if (address.family() == AF_INET) return address.v4.sin_addr.s_addr == htonl(INADDR_ANY);
  return address.family() == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address.v6.sin6_addr);
}

size_t OpenFds() {
  DIR* directory = opendir("/proc/self/fd");
  if (!directory) return 64;
  size_t count = 0;
  while (readdir(directory)) ++count;
  closedir(directory);
  return count;
}

uint64_t FileLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return std::min<uint64_t>(limit.rlim_cur, UINT32_MAX);
}

// How many connections, two descriptors each, the file limit has room for beside `spare`; `theirs`:
// descriptors of those that are open now.
uint32_t FdConnections(uint64_t theirs, uint64_t spare) {
  const uint64_t open = OpenFds();
  const uint64_t taken = open - std::min(open, theirs) + spare;
  const uint64_t most = FileLimit();
  return static_cast<uint32_t>(most > taken + 2 ? (most - taken) / 2 : 1);
}

// The listeners' and their certificates', all there at once while a plan is taken.
size_t PlanFds(const Plan& plan) {
  size_t count = 0;
  for (const ListenerPlan& listener : plan.listeners) count += 1 + 2 * listener.certificates.size();
  return count;
}

// The kernel doubles a full table of descriptors, and whoever wants one meanwhile waits for an RCU
// grace period, some 20 ms (expand_fdtable in fs/file.c): with it every session of a relay thread
// that takes a batch. So the table is made large before the first; 8 bytes of kernel memory each.
void GrowFdTable() {
  const auto most = static_cast<int>(std::min<uint64_t>(FileLimit(), kFdTable));
  UniqueFd(fcntl(0, F_DUPFD_CLOEXEC, most - 1));
}

KernelAbilities AbilitiesFor(const EngineOptions& options) {
  KernelAbilities kernel = ProbeKernel();
  for (auto& by_cipher : kernel.keys_error) {
    for (auto& by_direction : by_cipher) {
      if (!options.kernel_rx) by_direction[static_cast<size_t>(Direction::kReceive)] = EOPNOTSUPP;
      if (!options.kernel_tx) by_direction[static_cast<size_t>(Direction::kSend)] = EOPNOTSUPP;
    }
  }
  return kernel;
}

uint32_t ThreadsOf(const EngineOptions& options) {
  return std::max(1u, options.relay_threads) + std::max(1u, options.handshake_threads);
}

}  // namespace

struct Engine::Impl {
  Impl(Log& log, EventSink sink, uint32_t threads)
      : sink(std::move(sink)),
        state(
            log, [this](const EngineEvent& event) { Report(event); }, threads) {}

  void Report(const EngineEvent& event);
  bool MakeListener(const ListenerPlan& plan, const std::shared_ptr<TicketKeys>& tickets,
                    std::shared_ptr<Listener>* out, std::string* error);
  bool MakeListeners(const Plan& plan, std::vector<std::shared_ptr<Listener>>* out,
                     std::string* error);
  void LimitFds();
  void Replace(std::vector<std::shared_ptr<Listener>> next);

  const EventSink sink;
  std::mutex sink_mutex;
  std::map<std::string, int64_t> backend_failed_ms;  // when each listener's failure was last told
  EngineState state;
  std::vector<std::unique_ptr<RelayThread>> relays;
  std::vector<std::unique_ptr<HandshakeThread>> handshakes;
  std::vector<std::shared_ptr<Listener>> listeners;
  size_t plan_fds = 0;  // of the largest plan so far
  std::mutex inventory_mutex;
  size_t inventories_missing = 0;
  std::vector<UniqueFd> inventories;
  std::string start_error;
  bool closed = false;
};

void Engine::Impl::Report(const EngineEvent& event) {
  std::lock_guard lock(sink_mutex);
  if (event.type == EngineEvent::Type::kBackendFailed) {
    const int64_t now = NowMs();
    const auto [last, first] = backend_failed_ms.try_emplace(event.listener, now);
    if (!first && now - last->second < kBackendFailedEveryMs) return;
    last->second = now;
  }
  sink(event);
}

bool Engine::Impl::MakeListener(const ListenerPlan& plan,
                                const std::shared_ptr<TicketKeys>& tickets,
                                std::shared_ptr<Listener>* out, std::string* error) {
  auto listener = std::make_shared<Listener>();
  static_cast<ListenerValues&>(*listener) = plan;
  listener->fd = UniqueFd(fcntl(plan.fd, F_DUPFD_CLOEXEC, 3));
  if (!listener->fd.valid()) {
    *error = "listener " + plan.name + ": no descriptor: " + strerror(errno);
    return false;
  }
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  if (getsockname(listener->fd.get(), reinterpret_cast<sockaddr*>(&bound), &length) != 0) {
    *error = "listener " + plan.name + ": not a listening socket";
    return false;
  }
  // Accepted sockets inherit these (socket(7), tcp(7)): no system calls for each connection.
  PrepareStream(listener->fd.get(), bound.ss_family);
  listener->bound = PeerAddress::From(bound);
  listener->wildcard = IsWildcard(listener->bound);
  listener->proxy_protocol = plan.proxy_protocol;
  listener->handshake_ms = plan.handshake_ms;
  Endpoints addresses;
  if (!ParseAddresses(plan.backend_addresses, &addresses)) {
    *error = "listener " + plan.name + ": a backend address is not numeric";
    return false;
  }
  listener->SetBackendAddresses(std::move(addresses));

  ContextOptions options{plan.name, plan.min_version, plan.max_version, plan.ciphers, plan.alpn,
                         {},        tickets};
  for (const CertificateSource& source : plan.certificates) {
    if (LoadCertificate(source.chain_fd, source.key_fd, &options.certificates.emplace_back(),
                        error)) {
      continue;
    }
    *error = "listener " + plan.name + ": " + *error;
    return false;
  }
  if (!listener->contexts.Build(std::move(options), error)) {
    *error = "listener " + plan.name + ": " + *error;
    return false;
  }
  *out = std::move(listener);
  return true;
}

// A full table must leave room for what an upgrade or a reload takes, at either end, and the table
// of a recipient for all the sessions of a donor whose own is full.
void Engine::Impl::LimitFds() {
  std::array<uint64_t, static_cast<size_t>(Counter::kCount)> counted{};
  state.counters.Sum(counted);
  const auto sessions = counted[static_cast<size_t>(Counter::kSessionsOpen)];
  const uint64_t handoff = kHandoffFdsPerThread * relays.size();
  const uint64_t spare = kSpareFds + plan_fds + handoff;
  const uint64_t most = FileLimit();
  state.spare_fds_from = most > spare ? most - spare : 0;
  state.fd_connections = FdConnections(state.connections_open() + sessions, spare + handoff);
}

// Waits until every handshake thread has left the old listeners; only then are they closed, though
// sessions keep what else they are.
void Engine::Impl::Replace(std::vector<std::shared_ptr<Listener>> next) {
  auto done = std::make_shared<std::latch>(static_cast<ptrdiff_t>(handshakes.size()));
  for (const auto& thread : handshakes) thread->Listen(next, done);
  done->wait();
  for (const auto& listener : listeners) listener->fd.Reset();
  listeners = std::move(next);
}

Engine::Engine(const EngineOptions& options, Log& log, EventSink sink)
    : impl_(std::make_unique<Impl>(log, std::move(sink), ThreadsOf(options))) {
  GrowFdTable();
  impl_->state.key_update_records = options.key_update_records;
  impl_->state.kernel = AbilitiesFor(options);
  impl_->state.next_id = FirstConnectionId(options.worker);
  std::string* error = &impl_->start_error;
  if (options.counters_fd >= 0 && !impl_->state.counters.Use(options.counters_fd)) {
    *error = "the page of counters can't be used";
  }
  for (uint32_t i = 0; i < std::max(1u, options.relay_threads) && error->empty(); ++i) {
    impl_->relays.push_back(std::make_unique<RelayThread>(impl_->state));
    if (!impl_->relays.back()->Start(error)) impl_->relays.pop_back();
  }
  for (uint32_t i = 0; i < std::max(1u, options.handshake_threads) && error->empty(); ++i) {
    impl_->handshakes.push_back(std::make_unique<HandshakeThread>(impl_->state, impl_->relays));
    if (!impl_->handshakes.back()->Start(error)) impl_->handshakes.pop_back();
  }
}

Engine::~Engine() { Close(); }

bool Engine::Impl::MakeListeners(const Plan& plan, std::vector<std::shared_ptr<Listener>>* out,
                                 std::string* error) {
  if (closed || !start_error.empty()) {
    *error = closed ? "the engine is closed" : start_error;
    return false;
  }
  std::shared_ptr<TicketKeys> tickets;
  if (plan.ticket_keys_fd >= 0) {
    tickets.reset(TicketKeys::Map(plan.ticket_keys_fd));
    if (!tickets) {
      *error = "the session ticket keys can't be mapped";
      return false;
    }
  }
  plan_fds = std::max(plan_fds, PlanFds(plan));
  out->resize(plan.listeners.size());
  for (size_t i = 0; i < out->size(); ++i) {
    if (!MakeListener(plan.listeners[i], tickets, &(*out)[i], error)) return false;
  }
  return true;
}

bool Engine::Check(const Plan& plan, std::string* error) {
  std::vector<std::shared_ptr<Listener>> made;
  return impl_->MakeListeners(plan, &made, error);
}

bool Engine::Configure(const Plan& plan, std::string* error) {
  std::vector<std::shared_ptr<Listener>> next;
  if (!impl_->MakeListeners(plan, &next, error)) return false;
  if (plan.expected_connections > 0) {
    impl_->state.Expect(plan.expected_connections, NowMs());
  }
  impl_->state.max_connections = plan.max_connections;
  impl_->LimitFds();
  impl_->Replace(std::move(next));
  return true;
}

bool Engine::SetBackend(uint32_t listener, const std::vector<std::string>& addresses) {
  Endpoints endpoints;
  if (!ParseAddresses(addresses, &endpoints)) return false;
  for (const auto& candidate : impl_->listeners) {
    if (candidate->id != listener) continue;
    candidate->SetBackendAddresses(std::move(endpoints));
    return true;
  }
  return false;
}

void Engine::StopAccepting() {
  if (impl_->closed) return;
  impl_->Replace({});
  impl_->state.draining = true;
  impl_->state.ReportIfDrained();
}

void Engine::EndSessions() {
  impl_->state.ending = true;
  for (const auto& thread : impl_->handshakes) thread->EndConnections();
  for (const auto& thread : impl_->relays) thread->EndSessions();
}

size_t Engine::relay_threads() const { return impl_->relays.size(); }

size_t Engine::giving_threads() const {
  return static_cast<size_t>(std::count_if(impl_->relays.begin(), impl_->relays.end(),
                                           [](const auto& relay) { return relay->gives(); }));
}

void Engine::GiveSessions(std::vector<UniqueFd> pairs, uint32_t most) {
  for (size_t i = 0; i < impl_->relays.size() && i < pairs.size(); ++i) {
    impl_->relays[i]->GiveSessions(std::move(pairs[i]), most);
  }
}

void Engine::TakeSessions(std::vector<UniqueFd> pairs, uint32_t answers) {
  if (impl_->relays.empty()) return;  // the start failed: donors see the ends of their pairs
  for (const auto& relay : impl_->relays) relay->StopGiving();
  for (size_t i = 0; i < pairs.size(); ++i) {
    impl_->relays[i % impl_->relays.size()]->TakeSessions(std::move(pairs[i]), answers);
  }
}

const char* Engine::HandoffRefusal() const {
  for (const auto& relay : impl_->relays) {
    if (relay->refusal() != Refusal::kNone) return RefusalText(relay->refusal());
  }
  return "";
}

bool Engine::TakeInventory() {
  {
    std::lock_guard lock(impl_->inventory_mutex);
    if (impl_->inventories_missing > 0) return false;
    impl_->inventories_missing = impl_->relays.size();
    impl_->inventories.clear();
  }
  const auto done = [impl = impl_.get()](UniqueFd fd) {
    bool last;
    {
      std::lock_guard lock(impl->inventory_mutex);
      if (fd.valid()) impl->inventories.push_back(std::move(fd));
      last = --impl->inventories_missing == 0;
    }
    if (last) impl->state.sink({EngineEvent::Type::kInventory});
  };
  for (const auto& relay : impl_->relays) relay->TakeInventory(done);
  return true;
}

std::vector<UniqueFd> Engine::InventoryFds() {
  std::lock_guard lock(impl_->inventory_mutex);
  return std::exchange(impl_->inventories, {});
}

PauseSummary Engine::HandoffPauses() const { return impl_->state.counters.pauses().Read(); }

void Engine::Snapshot(uint64_t* out, size_t count) const {
  impl_->state.counters.Sum({out, count});
  const auto dropped = static_cast<size_t>(Counter::kLogLinesDropped);
  if (dropped < count) out[dropped] = impl_->state.log.dropped();
}

void Engine::Close() {
  if (std::exchange(impl_->closed, true)) return;
  for (const auto& thread : impl_->handshakes) thread->Stop();
  for (const auto& thread : impl_->handshakes) thread->Join();
  for (const auto& thread : impl_->relays) thread->Stop();
  for (const auto& thread : impl_->relays) thread->Join();
}

}  // namespace ironsocket
