// SPDX-License-Identifier: MIT
#include <optional>

#include "client_loop.h"

namespace load {
namespace {

struct Stream {
  std::optional<TlsClient> client;
  bool open = false;
  bool done = false;
  uint64_t offset = 0;
};

class Bulk {
 public:
  Bulk(const Options& options, Kind kind)
      : options_(options), kind_(kind), buffer_(kChunk), streams_(options.connections) {
    SSL_CTX_set_read_ahead(loop_.context(), 1);
    SSL_CTX_set_default_read_buffer_len(loop_.context(), kChunk);
  }

  // All handshakes are done before the first byte of a stream is asked for.
  int Run() {
    for (Stream& stream : streams_) {
      stream.client.emplace(loop_.context(), options_.port);
      loop_.Watch(&stream);
    }
    size_t open = 0;
    loop_.Run<Stream>([&open](Stream* stream) { open += Opened(stream); },
                      [&] { return open == streams_.size(); });
    const CpuClock clock(options_.pids);
    const auto message = FirstMessage(kind_, options_.bytes, {});
    size_t done = 0;
    for (Stream& stream : streams_) {
      if (!stream.client->Write(message)) Fail("a stream could not be asked for");
      // A short one may be through at once.
      if (kind_ == Kind::kSink) done += Send(&stream);
    }
    loop_.Run<Stream>(
        [&](Stream* stream) { done += kind_ == Kind::kSink ? Send(stream) : Receive(stream); },
        [&] { return done == streams_.size(); });
    PrintSpent(clock.Since(), streams_.size() * options_.bytes);
    for (Stream& stream : streams_) stream.client->Finish();
    return 0;
  }

 private:
  static bool Opened(Stream* stream) {
    if (stream->open) return false;
    const Progress progress = stream->client->Handshake();
    if (progress == Progress::kFailed) Fail("a handshake failed");
    return stream->open = progress == Progress::kDone;
  }

  // True when the last byte has come.
  bool Receive(Stream* stream) {
    if (stream->done) return false;
    for (;;) {
      const ssize_t got = stream->client->Read(buffer_);
      if (got == 0) return false;
      if (got < 0) Fail("a stream ended before its last byte");
      if (!pattern_.Matches(stream->offset, std::span(buffer_).first(got))) {
        Fail("a byte of a stream was wrong");
      }
      stream->offset += got;
      if (stream->offset > options_.bytes) Fail("a stream is too long");
      if (stream->offset == options_.bytes) return stream->done = true;
    }
  }

  // True when the backend has said that all was right.
  bool Send(Stream* stream) {
    if (stream->done) return false;
    while (stream->offset < options_.bytes) {
      const auto part = pattern_.At(stream->offset, options_.bytes - stream->offset);
      const auto record = part.first(part.size() < kRecord ? part.size() : kRecord);
      if (!stream->client->Write(record)) {
        if (stream->client->broken()) Fail("a stream broke");
        return false;
      }
      stream->offset += record.size();
    }
    uint64_t right = 0;
    const ssize_t got = stream->client->Read(std::span(reinterpret_cast<uint8_t*>(&right), 8));
    if (got == 0) return false;
    if (got != sizeof right || right != options_.bytes) Fail("not every byte of a stream arrived");
    return stream->done = true;
  }

  // Full ones.
  static constexpr size_t kRecord = 16384;

  const Options& options_;
  Kind kind_;
  Pattern pattern_;
  std::vector<uint8_t> buffer_;
  std::vector<Stream> streams_;
  ClientLoop loop_;
};

}  // namespace

int RunDown(const Options& options) { return Bulk(options, Kind::kSource).Run(); }

int RunUp(const Options& options) { return Bulk(options, Kind::kSink).Run(); }

}  // namespace load
