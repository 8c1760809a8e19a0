// SPDX-License-Identifier: MIT
// A handshake thread: accepts connections, runs their TLS handshakes and gives the finished ones to
// the least loaded relay thread. Runs at lower priority than the relay threads, so that a flood of
// handshakes does not slow established sessions.
#pragma once

#include <array>
#include <latch>
#include <memory>
#include <string>
#include <vector>

#include "engine_state.h"
#include "handshake/handshake.h"
#include "listener.h"
#include "loop/epoll.h"
#include "loop/thread.h"
#include "loop/timers.h"
#include "relay/relay_thread.h"

namespace ironsocket {

class HandshakeThread {
 public:
  // `relays` outlive it and are running.
  HandshakeThread(EngineState& state, const std::vector<std::unique_ptr<RelayThread>>& relays);
  ~HandshakeThread();
  HandshakeThread(const HandshakeThread&) = delete;
  HandshakeThread& operator=(const HandshakeThread&) = delete;

  bool Start(std::string* error);

  // From any thread. Listen replaces the listeners: what waits in the queues of the old ones is
  // taken first, and `done` is counted down once the old ones are out of the epoll. An empty list
  // stops accepting.
  void Listen(std::vector<std::shared_ptr<Listener>> listeners, std::shared_ptr<std::latch> done);
  void EndConnections();
  void Stop();
  void Join();

 private:
  static constexpr uint32_t kConnectionEvents = EPOLLIN | EPOLLRDHUP | EPOLLET;
  // A connection until its handshake is done, or until its alert has had its time.
  struct Connection {
    TimerNode timer;  // first: a TimerNode* is a Connection*
    Connection* previous = nullptr;
    Connection* next = nullptr;
    uint64_t id = 0;
    std::shared_ptr<Listener> listener;
    UniqueFd fd;
    PeerAddress client_address;
    PeerAddress local_address;
    int64_t accepted_ms = 0;
    std::unique_ptr<Handshake> handshake;  // nullptr until the first byte, and after the handshake
    std::vector<uint8_t> output;           // not yet sent
    size_t discarded = 0;                  // bytes that came after our alert
    int ulp_error = 0;                     // errno with which it did not get the ULP "tls"
    bool failed = false;                   // its alert is on the way; then it is only listened to
    bool shut = false;
    bool awaits_room = false;
    bool dead = false;
  };
  enum class Command : uint8_t { kListen, kEndConnections, kStop };
  struct Message {
    Command command;
    std::vector<std::shared_ptr<Listener>> listeners;
    std::shared_ptr<std::latch> done;
  };

  // handshake_thread.cc
  void Loop();
  int WaitMs() const;
  void TakeInbox();
  void OnEvent(Connection* connection, uint32_t events);
  bool FlushOutput(Connection* connection);
  bool AwaitRoom(Connection* connection);
  void Read(Connection* connection, bool hangup);
  void Advance(Connection* connection, std::span<const uint8_t> input);
  void Complete(Connection* connection, std::span<const uint8_t> leftover);
  void WakeRelays(int64_t least_us = 0);
  void Fail(Connection* connection, std::string_view why);
  void OnTimer(Connection* connection);
  void Close(Connection* connection);
  void DestroyClosed();
  void TrimMemory();
  void LogOutcome(const Connection& connection, const char* outcome, const HandshakeResult* result,
                  std::string_view error);

  // accept.cc
  void Register();
  void Unregister();
  void Accept(const std::shared_ptr<Listener>& listener, size_t most);
  void Admit(const std::shared_ptr<Listener>& listener, UniqueFd fd, const sockaddr_storage& peer);
  void Refuse(UniqueFd fd);
  void Pause(int error);
  void Resume();

  EngineState& state_;
  const std::vector<std::unique_ptr<RelayThread>>& relays_;
  ThreadCounters counters_;
  Epoll epoll_;
  Inbox<Message> inbox_;
  Timers timers_;
  std::vector<std::shared_ptr<Listener>> listeners_;
  std::unique_ptr<uint8_t[]> scratch_;
  Connection* all_ = nullptr;
  std::vector<Connection*> closed_;
  size_t open_ = 0;
  size_t open_peak_ = 0;  // since memory was last given back
  int64_t trimmed_ms_ = 0;
  int64_t now_ms_ = 0;
  bool adopted_ = false;         // relay threads have been given sessions, and were not woken since
  int64_t paused_until_ms_ = 0;  // 0: accepting
  uint32_t pause_ms_ = 0;
  int64_t complained_ms_ = INT64_MIN / 2;  // when the log last heard of a refusal or a pause
  bool stopping_ = false;
  Thread thread_;
};

}  // namespace ironsocket
