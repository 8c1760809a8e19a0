// SPDX-License-Identifier: MIT
// The table "How sessions end" of docs/design.md, row by row, through a whole engine.
#include <doctest/doctest.h>
#include <poll.h>

#include "live-engine.h"
#include "loop/clock.h"

using namespace ironsocket;

namespace {

constexpr int kVersions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

}  // namespace

TEST_CASE("closing: the client's close_notify is a FIN to the backend, whose answer still flows") {
  for (int version : kVersions) {
    CAPTURE(version);
    LiveEngine live;
    live.Configure();
    LiveSession session(live, version);
    const Bytes upload = Pattern(300'000), answer = Pattern(200'000, 2);
    std::thread sender([&] {
      session.client.Write(upload);
      SSL_shutdown(session.client.ssl());
    });
    CHECK(Receive(session.backend.get(), upload.size()) == upload);
    CHECK(EndOf(session.backend.get()) == 0);
    sender.join();
    std::thread answering([&] {
      SendAll(session.backend.get(), answer);
      session.backend.Reset();
    });
    CHECK(session.client.Read(answer.size()) == answer);
    CHECK(session.client.End() == "close_notify");
    answering.join();
    CHECK(EndOf(session.client.fd()) == 0);
    session.client.Close(false);
    CHECK(live.Reason() == "closed");
    CHECK(live.Count(Counter::kTruncations) == 0);
    CHECK(live.Count(Counter::kBytesFromClient) == upload.size() + 1);
    CHECK(live.Count(Counter::kBytesToClient) == answer.size() + 1);
  }
}

TEST_CASE("closing: a backend that reads late still sees an end in order") {
  LiveEngine live;
  const int small = 4096;  // most of it waits in the kernel's queue when our end is closed
  setsockopt(live.backend.fd.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  live.Configure();
  LiveSession session(live);
  session.client.Write(Pattern(40'000));
  SSL_shutdown(session.client.ssl());
  shutdown(session.backend.get(), SHUT_WR);
  CHECK(session.client.End() == "close_notify");
  session.client.Close(false);
  CHECK(live.Reason() == "closed");
  CHECK(Receive(session.backend.get(), 40'000) == Pattern(40'000));
  CHECK(EndOf(session.backend.get()) == 0);
}

TEST_CASE("closing: the client's FIN alone is a truncation: FIN to the backend") {
  LiveEngine live;
  live.Configure();
  LiveSession session(live);
  session.client.Write(Pattern(100));
  shutdown(session.client.fd(), SHUT_WR);
  CHECK(Receive(session.backend.get(), 100) == Pattern(100));
  CHECK(EndOf(session.backend.get()) == 0);
  SendAll(session.backend.get(), Pattern(50));
  session.backend.Reset();
  CHECK(session.client.Read(50) == Pattern(50));
  CHECK(session.client.End() == "close_notify");
  CHECK(live.Reason() == "truncated");
  CHECK(live.Count(Counter::kTruncations) == 1);
}

TEST_CASE("closing: a record that was cut never reaches the backend") {
  LiveEngine live;
  live.Configure();
  LiveSession session(live);
  session.client.Write(Pattern(100));
  SendAll(session.client.fd(), FromHex("1703030064 00112233"));
  shutdown(session.client.fd(), SHUT_WR);
  CHECK(Receive(session.backend.get(), 101) == Pattern(100));
  session.backend.Reset();
  CHECK(live.Reason() == "truncated");
}

TEST_CASE("closing: with on_truncation reset the client's FIN resets both sides") {
  LiveEngine live;
  live.plan.listeners[0].reset_on_truncation = true;
  live.Configure();
  LiveSession session(live);
  shutdown(session.client.fd(), SHUT_WR);
  CHECK(EndOf(session.backend.get()) == ECONNRESET);
  CHECK(session.client.End() == "reset");
  CHECK(live.Reason() == "truncated");
}

TEST_CASE("closing: the client's reset is a reset to the backend") {
  LiveEngine live;
  live.Configure();
  LiveSession session(live);
  session.client.Close(true);
  CHECK(EndOf(session.backend.get()) == ECONNRESET);
  CHECK(live.Reason() == "client_reset");
}

TEST_CASE("closing: a client's reset after its close_notify and FIN is noticed at once") {
  for (bool answering : {false, true}) {
    for (int version : kVersions) {
      CAPTURE(answering);
      CAPTURE(version);
      LiveEngine live;  // half_closed is a minute
      live.Configure();
      LiveSession session(live, version);
      SSL_shutdown(session.client.ssl());
      shutdown(session.client.fd(), SHUT_WR);
      CHECK(EndOf(session.backend.get()) == 0);
      if (answering) {
        SendAll(session.backend.get(), Pattern(100'000));
        CHECK(session.client.Read(50'000).size() == 50'000);
      }
      session.client.Close(true);
      // It has read our FIN: only poll(2) still tells of a reset.
      pollfd reset{session.backend.get(), 0, 0};
      CHECK(poll(&reset, 1, 10'000) == 1);
      CHECK((reset.revents & POLLERR) != 0);
      CHECK(live.Reason() == "client_reset");
    }
  }
}

TEST_CASE("closing: the client's fatal alert is a reset to both sides") {
  LiveEngine live;
  live.Configure();
  LiveSession session(live);
  TrafficKeys keys = session.client.WriteKeys(1);
  const Bytes data = ForgeNext(keys, ContentType::kApplicationData, Pattern(9));
  SendAll(session.client.fd(), Concat(data, ForgeNext(keys, ContentType::kAlert, {2, 20})));
  CHECK(Receive(session.backend.get(), 9) == Pattern(9));
  CHECK(EndOf(session.backend.get()) == ECONNRESET);
  CHECK(session.client.End() == "reset");
  CHECK(live.Reason() == "client_alert");
}

TEST_CASE("closing: data and control records in one segment, and then too many KeyUpdates") {
  LiveEngine live;
  live.Configure();
  LiveSession session(live);
  TrafficKeys keys = session.client.WriteKeys(1);
  Bytes stream, expected;
  for (uint32_t i = 0; i < 100; i++) {
    stream = Concat(stream, ForgeNext(keys, ContentType::kApplicationData, Pattern(i * 20, i)));
    expected = Concat(expected, Pattern(i * 20, i));
    if (i % 10 != 3) continue;
    stream = Concat(stream, ForgeNext(keys, ContentType::kHandshake, {24, 0, 0, 1, 1}));
    REQUIRE(NextGeneration(&keys));
  }
  SendAll(session.client.fd(), stream);
  CHECK(Receive(session.backend.get(), expected.size()) == expected);
  CHECK(live.Count(Counter::kKeyUpdatesReceived) == 10);
  SendAll(session.backend.get(), Pattern(70'000));
  CHECK(session.client.Read(70'000) == Pattern(70'000));  // under our next generations
  stream.clear();
  for (int i = 0; i < 33; i++) {
    stream = Concat(stream, ForgeNext(keys, ContentType::kHandshake, {24, 0, 0, 1, 0}));
    REQUIRE(NextGeneration(&keys));
  }
  SendAll(session.client.fd(), stream);
  CHECK(session.client.End() == "alert 10");
  CHECK(EndOf(session.backend.get()) == ECONNRESET);
}

TEST_CASE("closing: a client that breaks the protocol gets its alert, the backend a reset") {
  struct {
    int version;
    Bytes record;
    std::string end;
  } const cases[] = {
      {TLS1_3_VERSION, Concat(FromHex("1703030020"), Bytes(32)), "alert 20"},
      {TLS1_2_VERSION, Concat(FromHex("1703030030"), Bytes(48)), "alert 20"},
      {TLS1_3_VERSION, FromHex("1703034101"), "alert 22"},
      {TLS1_3_VERSION, FromHex("140303000101"), "alert 10"},
      {TLS1_2_VERSION, FromHex("170301003000"), "alert 70"},
      {TLS1_3_VERSION, FromHex("170302003000"), "alert 50"},
  };
  for (const auto& test : cases) {
    CAPTURE(test.end);
    LiveEngine live;
    live.Configure();
    LiveSession session(live, test.version);
    session.client.Write(Pattern(1000));
    SendAll(session.client.fd(), test.record);
    CHECK(Receive(session.backend.get(), 1000) == Pattern(1000));
    CHECK(EndOf(session.backend.get()) == ECONNRESET);
    CHECK(session.client.End() == test.end);
    CHECK(EndOf(session.client.fd()) == 0);
    session.client.Close(false);
    CHECK(live.Reason() == "protocol_fault");
  }
}

TEST_CASE("closing: the backend's FIN is close_notify and FIN; the client may go on sending") {
  for (int version : kVersions) {
    CAPTURE(version);
    LiveEngine live;
    live.Configure();
    LiveSession session(live, version);
    const Bytes answer = Pattern(500'000);
    std::thread sender([&] {
      SendAll(session.backend.get(), answer);
      shutdown(session.backend.get(), SHUT_WR);
    });
    CHECK(session.client.Read(answer.size()) == answer);
    CHECK(session.client.End() == "close_notify");
    sender.join();
    CHECK(session.client.Write(Pattern(5000, 3)));
    CHECK(Receive(session.backend.get(), 5000) == Pattern(5000, 3));
    SSL_shutdown(session.client.ssl());
    CHECK(EndOf(session.backend.get()) == 0);
    session.client.Close(false);
    CHECK(live.Reason() == "closed");
  }
}

TEST_CASE("closing: a backend that answers and then refuses the upload has answered in full") {
  LiveEngine live;
  live.Configure();
  LiveSession session(live);
  const Bytes answer = Pattern(30'000);
  SendAll(session.backend.get(), answer);
  shutdown(session.backend.get(), SHUT_WR);
  CHECK(session.client.Read(answer.size()) == answer);
  session.client.Write(Pattern(100));
  CHECK(Receive(session.backend.get(), 50).size() == 50);
  session.backend.Reset();  // unread bytes: the kernel resets
  for (int i = 0; i < 20; i++) session.client.Write(Pattern(20'000));
  CHECK(session.client.End() == "close_notify");
  SSL_shutdown(session.client.ssl());
  session.client.Close(false);
  CHECK(live.Reason() == "closed");
}

TEST_CASE("closing: the backend's reset is a reset to the client, never close_notify") {
  LiveEngine live;
  live.Configure();
  LiveSession session(live);
  SendAll(session.backend.get(), Pattern(10));
  CHECK(session.client.Read(10) == Pattern(10));
  ResetOnClose(session.backend.get());
  session.backend.Reset();
  CHECK(session.client.End() == "reset");
  CHECK(live.Reason() == "backend_reset");
}

TEST_CASE("closing: a backend that can't be reached is internal_error, until another is named") {
  LiveEngine live;
  const RefusingPort nobody;
  live.plan.listeners[0].backend_addresses = {nobody.text};
  live.Configure();
  const int64_t start = NowMs();
  for (int version : kVersions) {
    LiveClient client(live.front, version);
    REQUIRE(client.connected);
    CHECK(client.End() == "alert 80");
    client.Close(false);
    CHECK(live.Reason() == "backend_failed");
  }
  const size_t told = live.Events(LiveEngine::Type::kBackendFailed);
  CHECK(told > 0);
  if (NowMs() - start < 1'000) CHECK(told == 1);  // at most one in a second
  CHECK(live.events[0].listener == "web");
  CHECK(live.events[0].error == ECONNREFUSED);
  CHECK(live.Count(Counter::kBackendConnectFailed) == 2);
  CHECK_FALSE(live.engine.SetBackend(8, {live.backend.text()}));
  CHECK_FALSE(live.engine.SetBackend(7, {"localhost:1"}));
  REQUIRE(live.engine.SetBackend(7, {live.backend.text()}));
  LiveSession session(live);
}

TEST_CASE("closing: the next address is tried when one fails") {
  LiveEngine live;
  const RefusingPort nobody;
  live.plan.listeners[0].backend_addresses = {nobody.text, nobody.text, live.backend.text(),
                                              nobody.text};
  live.Configure();
  for (int i = 0; i < 4; i++) LiveSession session(live);
  CHECK(live.Count(Counter::kBackendConnectFailed) == 0);
}

TEST_CASE(
    "closing: idle timeout: close_notify; half-closed with an answer owed: alert; the backend is "
    "reset") {
  for (bool half : {false, true}) {
    CAPTURE(half);
    LiveEngine live;
    live.plan.listeners[0].idle_ms =
        half ? 0 : 1'000;  // longer than the session takes to come about
    live.plan.listeners[0].half_closed_ms = half ? 100 : 0;
    live.Configure();
    LiveSession session(live);
    if (half) {
      SSL_shutdown(session.client.ssl());
      CHECK(EndOf(session.backend.get()) == 0);
    }
    CHECK(session.client.End() == (half ? "alert 80" : "close_notify"));
    if (half) {
      Eventually([&] { return send(session.backend.get(), "x", 1, MSG_NOSIGNAL) < 0; });
    } else {
      CHECK(EndOf(session.backend.get()) == ECONNRESET);
    }
    session.client.Close(false);
    CHECK(live.Reason() == (half ? "half_closed_timeout" : "idle_timeout"));
  }
}
