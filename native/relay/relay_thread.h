// SPDX-License-Identifier: MIT
// A relay thread: owns its sessions from the end of their handshake to their last byte. Loop,
// timers and run queue are in relay_thread.cc, the way of a session in connect.cc, transfer.cc with
// to_backend.cc and to_client.cc, and closing.cc, in this order; offload.cc hands a direction to
// the kernel, splice.cc moves its bulk.
#pragma once

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine_state.h"
#include "handoff/batch.h"
#include "handoff/inventory.h"
#include "loop/buffer_pool.h"
#include "loop/epoll.h"
#include "loop/thread.h"
#include "loop/timers.h"
#include "record/aead.h"
#include "record/kernel.h"
#include "record/userspace.h"
#include "relay/pipe.h"
#include "relay/session.h"
#include "relay/slab.h"

namespace ironsocket {

// What a relay thread's epoll watches, and its tags: a Session*, with kBackendBit for the backend's
// socket.
inline constexpr uint32_t kSessionEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
inline constexpr uint64_t kBackendBit = 1;
// Tags of the pairs to other workers; below any address.
inline constexpr uint64_t kGivingTag = 2;
inline constexpr uint64_t kTakingTag = 4;
inline constexpr uint64_t kFirstSessionTag = 4096;

class RelayThread {
 public:
  explicit RelayThread(EngineState& state);
  ~RelayThread();
  RelayThread(const RelayThread&) = delete;
  RelayThread& operator=(const RelayThread&) = delete;

  // False and `*error` when the thread or its descriptors can't be had.
  bool Start(std::string* error);

  // From any thread. Adopt takes the session whatever happens, but begins with it only after Wake,
  // or when the thread is awake for another reason. Wake does nothing where no session has waited
  // for `least_us`. EndSessions says close_notify to every client and resets every backend; Stop
  // resets what is left and ends the thread, which Join waits for.
  void Adopt(std::unique_ptr<Established> session);
  void Wake(int64_t least_us = 0);
  void EndSessions();
  // All sessions, also those that come later, go to the relay thread of another worker that has the
  // other end of `fd` (a SOCK_SEQPACKET pair), until either end is closed, at most `most` in a
  // batch.
  void GiveSessions(UniqueFd fd, uint32_t most);
  // Writes down all sessions, in slices between which it does its other work. `done` is called by
  // the thread, at the latest when it ends.
  void TakeInventory(std::function<void(UniqueFd)> done);
  void StopGiving();  // who takes back must not give at the same time
  // The recipient's side. For tests: after `answers` batches the next waits for the donor's end.
  void TakeSessions(UniqueFd fd, uint32_t answers);
  void Stop();
  void Join();

  // Sessions it has or is about to get; any thread.
  uint32_t load() const { return load_.load(std::memory_order_relaxed); }
  // Until there is nothing to give (any more), the pair has ended or StopGiving was called; any
  // thread.
  bool gives() const { return gives_.load(std::memory_order_relaxed); }
  // Why sessions were not given, the last reason since GiveSessions; any thread.
  Refusal refusal() const { return refusal_.load(std::memory_order_relaxed); }

 private:
  enum class Command : uint8_t {
    kAdopt,
    kEndSessions,
    kGive,
    kStopGiving,
    kTake,
    kInventory,
    kStop
  };
  struct Message {
    Command command;
    std::unique_ptr<Established> session;
    UniqueFd fd;
    uint32_t limit = 0;  // `most` or `answers`
    std::function<void(UniqueFd)> done;
  };
  // A donor's side of a pair: one batch at a time is on its way.
  struct Giving {
    UniqueFd fd;
    uint64_t id = 0;          // of the last batch; 0: the recipient's word that it listens
    bool prepared = false;    // an answer is missing
    Session* next = nullptr;  // to be given, with those behind it; those before it stay
    bool ending = false;      // the batch is ours again once the other side has our word for it
    int64_t prepared_ms = 0;
    int64_t retry_ms = 0;
    size_t most;  // sessions in a batch; 0: none go, for tests
    std::vector<Session*> batch;
  };
  // The sessions from `next` on are still to be written down.
  struct Counting {
    Inventory inventory;
    Session* next = nullptr;
    std::function<void(UniqueFd)> done;
  };
  struct Taking {
    UniqueFd fd;
    uint32_t answers;  // before it waits, for tests
    // Sessions that are made, whose donor did not hear our answer.
    std::vector<Session*> held;
  };
  // Opened application data of several records, to be written in one go.
  struct Gather {
    static constexpr size_t kPieces = 64;
    static constexpr size_t kCopied = 1024;  // contents shorter than this don't get a piece each
    std::array<iovec, kPieces> pieces;
    size_t count = 0;
    size_t bytes = 0;

    void Add(std::span<uint8_t> content);
  };
  enum class Step : uint8_t { kGoOn, kBlocked, kEnded };
  enum class Side : uint8_t { kClient, kBackend };

  // relay_thread.cc
  void Loop();
  void CountDrops();
  void CountMemory();
  void TakeInbox();
  void Dispatch(const epoll_event& event);
  void RunQueue();
  void RunTurn(Session* session);
  void ExpireTimers();
  void OnTimer(Session* session);
  void Enqueue(Session* session);
  void Starve(Session* session);
  void WakeStarved();
  void StarveUntilLater();
  void DropWaiting();
  bool Create(Established& established);
  bool TakeOver(Session* session, Established& established);
  void Link(Session* session);
  void Bury(Session* session);
  void Discharge(Session* session);
  void ReleaseBlocks(Session* session);
  static uint32_t DurationOf(const Session& session);
  void DestroyBuried();

  // connect.cc
  void StartConnecting(Session* session);
  void ConnectNext(Session* session);
  int ConnectTo(Session* session, const Endpoint& endpoint);
  void ConnectTurn(Session* session);
  void Connected(Session* session);
  void ConnectFailed(Session* session);

  // transfer.cc
  void RelayTurn(Session* session);
  Step WaitForRoom(Session* session, int error, Side side);
  bool ClientIsDead(Session* session);
  void CheckErrors(Session* session);
  void RelayTimeout(Session* session);
  void ArmForState(Session* session, bool active);

  // to_backend.cc
  void PumpToBackend(Session* session);
  Step ReadClient(Session* session, size_t* budget);
  Step OpenRecords(Session* session, ssize_t filled, size_t* budget);
  Step OnControl(Session* session, const Judgement& judgement);
  Step OnKeyUpdate(Session* session);
  Step Forward(Session* session, Gather* gather);
  Step DeliverParked(Session* session);
  Step BackendWriteFailed(Session* session, int error);
  void EndOfClient(Session* session);
  void DiscardClient(Session* session);

  // to_client.cc
  void PumpToClient(Session* session);
  Step ReadBackend(Session* session, size_t* budget);
  Step BackendReadEnded(Session* session, int error);
  Step FlushToClient(Session* session);
  bool IsClientFault(Session* session, int error);
  bool ShutClient(Session* session);
  bool KeyUpdateDue(Session* session);
  bool SendKeyUpdate(Session* session);

  // offload.cc
  RecordReceiver& ReceiverOf(const Session& session);
  RecordSender& SenderOf(const Session& session);
  void ChooseEngines(Session* session, int ulp_error);
  static bool WantsKernelRx(Session* session);
  static bool WantsKernelTx(Session* session);
  void OffloadReceiving(Session* session);
  void OffloadSending(Session* session);
  void OffloadRefused(const Session& session, const char* direction, int error);
  static bool IsKernel(const Session& session);
  void CountEngines(const Session& session);
  void UncountEngines(const Session& session);

  // splice.cc
  bool MaySpliceToBackend(const Session& session);
  bool MaySpliceToClient(const Session& session);
  Step SpliceToBackend(Session* session, size_t* budget, bool* records_left);
  Step ForwardPipe(Session* session, size_t length);
  Step SpliceToClient(Session* session, size_t* budget);
  Step SendPipe(Session* session, size_t length);
  bool ParkPipe(Block* block, size_t length);

  // handoff.cc
  void BeginGiving(UniqueFd fd, uint32_t most);
  void GiveBatch();
  void ResumeBatch();
  void OnAnswer(Refusal refusal);
  bool TakeAnswer(int* error);
  void OnAnswers();
  int GivingTimeout() const;
  int64_t PatienceMs() const;
  void TickGiving();
  void EndGiving(Refusal why);
  void BeginTaking(UniqueFd fd, uint32_t answers);
  void OnPrepares(size_t index, uint32_t events);
  bool Waits(size_t index, uint32_t events);
  void TakeBatch(Taking& taking, Prepare& prepare);
  void EndTaking(Taking& taking, bool died);
  Refusal RestoreBatch(Prepare& prepare, std::vector<Session*>* batch);
  void Disown(Session* session);
  void TakeIn(Session* session);
  void CountMoved(const Session& session, Counter all);
  bool Register(Session* session);
  void Unregister(Session* session);
  bool Listen(Session* session, uint32_t events);
  void GoOn(Session* session);
  void MarkReady(Session* session);
  void Rearm(Session* session);

  // inventory.cc
  void BeginInventory(std::function<void(UniqueFd)> done);
  void GoOnWithInventory();
  void EndInventory();

  // closing.cc
  void Finish(Session* session);
  void EndWithAlert(Session* session, CloseReason reason, Alert alert);
  void EndForKeys(Session* session, int error);
  void EndWithCloseNotify(Session* session, CloseReason reason);
  void CloseClient(Session* session);
  void ResetBoth(Session* session, CloseReason reason);
  bool SealLastWord(Session* session, std::span<const uint8_t> alert);
  void BeginClosing(Session* session);
  void CloseBackend(Session* session);
  void ClosingTimeout(Session* session);
  bool StillMoving(Session* session, uint32_t duration_ms);
  void ClosingTurn(Session* session);
  void LogConnected(Session* session);
  void LogEnd(Session* session);

  EngineState& state_;
  ThreadCounters counters_;
  std::atomic<uint32_t> load_{0};
  std::atomic<bool> gives_{false};
  Epoll epoll_;
  Inbox<Message> inbox_;
  Timers timers_;
  BufferPool pool_;
  std::unique_ptr<uint8_t[]> scratch_;
  Aead aead_;
  UserspaceReceiver userspace_receiver_;
  UserspaceSender userspace_sender_;
  KernelReceiver kernel_receiver_;
  KernelSender kernel_sender_;
  Pipe pipe_;  // empty between turns
  std::unique_ptr<Giving> giving_;
  std::vector<Taking> takings_;
  std::unique_ptr<Counting> counting_;
  std::atomic<Refusal> refusal_{Refusal::kNone};
  Slab<Session> slab_;
  Session* all_ = nullptr;       // every session of the thread
  Session* run_head_ = nullptr;  // sessions with something to do, in order
  Session* run_tail_ = nullptr;
  Session* starved_ = nullptr;
  std::vector<Session*> buried_;  // ended; freed once no event of the batch can name them
  std::vector<std::unique_ptr<Established>> waiting_;  // for memory
  int64_t now_ms_ = 0;
  int64_t refusal_told_ms_ = INT64_MIN / 2;
  int64_t starved_until_ms_ = 0;  // 0: nobody is starved
  bool stopping_ = false;
  Thread thread_;
};

}  // namespace ironsocket
