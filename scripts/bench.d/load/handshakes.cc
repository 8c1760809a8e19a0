// SPDX-License-Identifier: MIT
#include <optional>

#include "client_loop.h"

namespace load {
namespace {

struct Place {
  std::optional<TlsClient> client;
  enum { kHandshaking, kAsking, kEnding } state = kHandshaking;
  size_t answered = 0;
};

class Handshakes {
 public:
  explicit Handshakes(const Options& options)
      : options_(options),
        request_(pattern_.At(0, options.bytes)),
        message_(FirstMessage(Kind::kEcho, 0, request_)),
        answer_(options.bytes),
        places_(options.connections) {}

  int Run() {
    for (Place& place : places_) Open(&place);
    RunFor(options_.warm_s);
    const uint64_t before = count_;
    const uint64_t tickets = TicketsSeen();
    const CpuClock clock(options_.pids);
    RunFor(options_.seconds);
    PrintSpent(clock.Since(), count_ - before, TicketsSeen() - tickets);
    return 0;
  }

 private:
  void RunFor(double seconds) {
    const uint64_t until = InSeconds(seconds);
    loop_.Run<Place>([this](Place* place) { Step(place); }, [until] { return NowNs() >= until; });
  }

  void Open(Place* place) {
    place->client.emplace(loop_.context(), options_.port);
    place->state = Place::kHandshaking;
    place->answered = 0;
    loop_.Watch(place);
  }

  void Step(Place* place) {
    TlsClient& client = *place->client;
    if (place->state == Place::kHandshaking) {
      const Progress progress = client.Handshake();
      if (progress == Progress::kWait) return;
      if (progress == Progress::kFailed || !client.Write(message_)) Fail("a handshake failed");
      place->state = Place::kAsking;
    }
    if (place->state == Place::kAsking) {
      const ssize_t got = client.Read(std::span(answer_).subspan(place->answered));
      if (got < 0) Fail("a connection ended without its answer");
      if (!pattern_.Matches(place->answered, std::span(answer_).subspan(place->answered, got))) {
        Fail("an answer was wrong");
      }
      place->answered += got;
      if (place->answered < answer_.size()) return;
      client.Finish();
      place->state = Place::kEnding;
    }
    if (client.AwaitEnd() == Progress::kWait) return;
    ++count_;
    Open(place);
  }

  const Options& options_;
  Pattern pattern_;
  std::span<const uint8_t> request_;
  std::vector<uint8_t> message_;
  std::vector<uint8_t> answer_;
  std::vector<Place> places_;
  ClientLoop loop_;
  uint64_t count_ = 0;
};

}  // namespace

int RunHandshakes(const Options& options) { return Handshakes(options).Run(); }

}  // namespace load
