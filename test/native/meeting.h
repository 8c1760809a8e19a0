// SPDX-License-Identifier: MIT
// A client of OpenSSL meets Handshake; what is left of it goes on with the record code.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include "memory-client.h"
#include "record/aead.h"
#include "record/post_handshake.h"

// Our end after a handshake: the extracted keys and the record code, nothing else.
struct OurEnd {
  ironsocket::Aead aead;
  ironsocket::TrafficKeys rx, tx;
  Bytes inbound;

  struct Got {
    ironsocket::Alert alert;
    ironsocket::ContentType type;
    Bytes content;
  };
  // The next whole record of `inbound`.
  Got Open() {
    size_t length = 0;
    REQUIRE(inbound.size() >= 5);
    ironsocket::Alert alert =
        ParseHeader(rx, std::span<const uint8_t, 5>(inbound.data(), 5), &length);
    if (alert != ironsocket::Alert::kNone) return {alert, {}, {}};
    REQUIRE(inbound.size() >= length);
    ironsocket::OpenedRecord record{};
    alert = OpenRecord(aead, rx, {inbound.data(), length}, &record);
    Got got{alert, record.type, Bytes(record.content.begin(), record.content.end())};
    inbound.erase(inbound.begin(), inbound.begin() + static_cast<ptrdiff_t>(length));
    return got;
  }
  // All application data; anything else, or a fault, fails the test.
  Bytes OpenData() {
    Bytes all;
    while (!inbound.empty()) {
      Got got = Open();
      REQUIRE(got.alert == ironsocket::Alert::kNone);
      REQUIRE(got.type == ironsocket::ContentType::kApplicationData);
      all.insert(all.end(), got.content.begin(), got.content.end());
    }
    return all;
  }
  Bytes Seal(ironsocket::ContentType type, const Bytes& content) {
    Bytes record(tx.prefix() + content.size() + tx.suffix());
    std::copy(content.begin(), content.end(), record.begin() + static_cast<ptrdiff_t>(tx.prefix()));
    REQUIRE(SealRecord(aead, tx, type, record.data(), content.size()) == record.size());
    return record;
  }
  Bytes Seal(const Bytes& content) {
    return Seal(ironsocket::ContentType::kApplicationData, content);
  }
};

struct Meeting {
  using Status = ironsocket::Handshake::Status;

  MemoryClient client;
  Status status = Status::kWantRead;
  ironsocket::HandshakeResult result;
  OurEnd ours;
  std::string error;
  Bytes output;  // all that our side has sent

  // `chunk`: bytes that Handshake gets at once; `glued`: sent by the client as soon as it may, in
  // the flight of its Finished where that is allowed.
  Meeting(const ironsocket::ServerContexts& contexts, const ClientOptions& options,
          size_t chunk = SIZE_MAX, const Bytes& glued = {})
      : client(options) {
    ironsocket::Handshake handshake(contexts);
    REQUIRE(handshake.valid());
    bool written = glued.empty();
    for (int round = 0; round < 10 && status == Status::kWantRead; round++) {
      if (client.Handshake() && !std::exchange(written, true)) client.Write(glued);
      const Bytes flight = client.Take();
      std::span<const uint8_t> left(flight);
      Bytes answer;
      while (!left.empty() && status == Status::kWantRead) {
        std::span<const uint8_t> part = left.first(std::min(chunk, left.size()));
        const size_t before = part.size();
        status = handshake.Advance(&part, &answer);
        left = left.subspan(before - part.size());
        if (status == Status::kWantRead) REQUIRE(part.empty());
      }
      ours.inbound.assign(left.begin(), left.end());
      output.insert(output.end(), answer.begin(), answer.end());
      client.Give(answer);
    }
    if (status == Status::kDone) {
      REQUIRE(handshake.Take(&result));
      ours.rx = std::move(result.rx);
      ours.tx = std::move(result.tx);
      REQUIRE(client.Handshake());
    }
    error = handshake.error();
  }
  bool done() const { return status == Status::kDone; }

  // The alert that our side has sent in the clear; -1 when there is none.
  int PlainAlert() const {
    const size_t size = output.size();
    if (size < 7 || output[size - 7] != 21) return -1;
    return output[size - 1];
  }
};
