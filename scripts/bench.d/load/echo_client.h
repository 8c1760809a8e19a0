// SPDX-License-Identifier: MIT
// A connection whose requests the backend echoes.
#pragma once

#include <optional>

#include "client_loop.h"

namespace load {

class EchoClient {
 public:
  EchoClient(SSL_CTX* context, uint16_t port, const Pattern& pattern, uint64_t bytes)
      : pattern_(pattern), request_(pattern.At(0, bytes)), answer_(bytes) {
    client.emplace(context, port);
  }

  std::optional<TlsClient> client;
  // No request is under way.
  bool idle() const { return open_ && !asked_; }
  // When the request was due that is under way, or when it was sent: the caller's.
  uint64_t due_ns = 0;

  // Goes on with the handshake; true when it is done.
  bool Open() {
    if (open_) return true;
    const Progress progress = client->Handshake();
    if (progress == Progress::kFailed) Fail("a handshake failed");
    open_ = progress == Progress::kDone;
    return open_;
  }

  void Ask() {
    const bool sent =
        first_ ? client->Write(FirstMessage(Kind::kEcho, 0, request_)) : client->Write(request_);
    if (!sent) Fail("a request could not be sent");
    first_ = false;
    asked_ = true;
    answered_ = 0;
  }

  // Reads what has come; true when an answer is complete.
  bool Answered() {
    while (asked_) {
      const ssize_t got = client->Read(std::span(answer_).subspan(answered_));
      if (got == 0) return false;
      if (got < 0) Fail("a connection ended without its answer");
      if (!pattern_.Matches(answered_, std::span(answer_).subspan(answered_, got))) {
        Fail("an answer was wrong");
      }
      answered_ += got;
      if (answered_ < answer_.size()) continue;
      asked_ = false;
      return true;
    }
    // Tickets come by themselves.
    if (client->Read(answer_) != 0) Fail("a connection ended, or said what nobody had asked for");
    return false;
  }

 private:
  const Pattern& pattern_;
  std::span<const uint8_t> request_;
  std::vector<uint8_t> answer_;
  size_t answered_ = 0;
  bool open_ = false;
  bool first_ = true;
  bool asked_ = false;
};

// Connects all, and has each answer once, so that each has its backend.
class EchoClients {
 public:
  explicit EchoClients(const Options& options) : options_(options) {}

  // So many more, a few at a time: listen queues are finite.
  void Open(size_t count) {
    constexpr size_t kAtOnce = 32;
    for (size_t left = count; left > 0;) {
      const size_t part = left < kAtOnce ? left : kAtOnce;
      for (size_t i = 0; i < part; ++i) {
        all_.push_back(
            std::make_unique<EchoClient>(loop_.context(), options_.port, pattern_, options_.bytes));
        loop_.Watch(all_.back().get());
      }
      size_t answered = 0;
      loop_.Run<EchoClient>(
          [&answered](EchoClient* client) {
            if (!client->Open()) return;
            if (client->idle() && client->due_ns == 0) {
              client->due_ns = 1;
              client->Ask();
            }
            if (client->Answered()) ++answered;
          },
          [&answered, part] { return answered == part; });
      left -= part;
    }
  }

  ClientLoop& loop() { return loop_; }
  const std::vector<std::unique_ptr<EchoClient>>& all() const { return all_; }

 private:
  const Options& options_;
  Pattern pattern_;
  ClientLoop loop_;
  std::vector<std::unique_ptr<EchoClient>> all_;
};

}  // namespace load
