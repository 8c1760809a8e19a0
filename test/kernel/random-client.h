// SPDX-License-Identifier: MIT
// A client that says what a session may say after its handshake, and one thing that it may not. All
// of it follows from the numbers it is given.
#pragma once

#include <algorithm>
#include <random>

#include "record-oracle.h"
#include "record/post_handshake.h"

using Random = std::mt19937;

inline size_t Below(Random& random, size_t limit) { return random() % limit; }
inline bool OneIn(Random& random, size_t chances) { return Below(random, chances) == 0; }
inline Bytes Slice(const Bytes& bytes, size_t begin, size_t end) {
  return Bytes(bytes.begin() + static_cast<ptrdiff_t>(begin),
               bytes.begin() + static_cast<ptrdiff_t>(end));
}

enum class Fault {
  kNone,
  // Done to a record that was honest.
  kBody,
  kTag,
  kVersion,
  kType,
  kLength,
  kReplayed,
  kDropped,
  kSwapped,
  kCut,
  // Records that no honest client seals.
  kTooLong,
  kOverlong,
  kTooShort,
  kAllZero,
  kStrangeType,
  kEmptyControl,
  kBadKeyUpdate,
  kBadAlert,
  kKeyUpdateFlood,
  kEmptyInHello,
  kDataInHello,
  kHelloLikeKeyUpdate,
};
inline constexpr int kFaults = static_cast<int>(Fault::kHelloLikeKeyUpdate) + 1;

class Client {
 public:
  Client(uint16_t suite, Random& random, Fault fault)
      : fault(fault), random_(random), keys_(KeysOf(suite)) {}

  // Some records, of which one is at fault.
  void Talk() {
    const size_t count = 4 + Below(random_, 12);
    const size_t turn = Below(random_, count);
    for (size_t i = 0; i < count; ++i) {
      if (i == turn) {
        at = records.size();
        Misbehave();
        Mutate();
        continue;
      }
      Speak();
    }
    if (OneIn(random_, 2)) Add(21, {ironsocket::kAlertWarning, 0});
    Add(23, Pattern(200, random_()));  // what follows the fault is never a part of a header
  }

  Bytes Wire() const {
    Bytes wire;
    for (const Bytes& record : records) wire.insert(wire.end(), record.begin(), record.end());
    return wire;
  }

  const Fault fault;
  std::vector<Bytes> records;
  size_t at = 0;  // the record at fault
  Bytes before;   // as it was before
  bool tls13() const { return keys_.version == ironsocket::TlsVersion::kTls13; }

 private:
  void Add(uint8_t type, Bytes content, size_t padding = 0) {
    if (tls13()) {
      content.push_back(type);
      content.resize(content.size() + padding);
    }
    AddInner(tls13() ? 23 : type, content);
  }
  void AddInner(uint8_t type, const Bytes& inner) {
    records.push_back(Forge(keys_, type, inner, keys_.sequence * 3 + 1));
    ++keys_.sequence;
  }

  void Speak() {
    switch (Below(random_, 12)) {
      case 0:
        if (++empties_ <= 16) Add(23, {});
        break;
      case 1:
        return Add(21, {ironsocket::kAlertWarning,
                        static_cast<uint8_t>(ironsocket::Alert::kUserCanceled)});
      case 2:
      case 3:
        return tls13() ? KeyUpdate() : Hello();
      case 4:
        return AddData(Below(random_, 16385), Below(random_, 16385));
      case 5:
        return AddData(ironsocket::kMaxPlaintext, 0);
      default:
        return AddData(1 + Below(random_, 700), OneIn(random_, 4) ? Below(random_, 300) : 0);
    }
  }
  void AddData(size_t size, size_t padding) {
    if (size > 0) empties_ = 0;
    if (size > 0 || ++empties_ <= 16)
      Add(23, Pattern(size, random_()), std::min(padding, ironsocket::kMaxPlaintext - size));
  }
  void KeyUpdate() {
    Add(22, {24, 0, 0, 1, static_cast<uint8_t>(Below(random_, 2))});
    REQUIRE(NextGeneration(&keys_));
  }

  // A wish to renegotiate, over one record or several.
  void Hello() {
    const size_t body = Below(random_, 400);
    Bytes hello = Pattern(body, random_());
    // Newer kernels take a record for a KeyUpdate that begins like one.
    for (uint8_t& byte : hello) byte &= 7;
    hello = Concat(Bytes{1, 0, static_cast<uint8_t>(body >> 8), static_cast<uint8_t>(body)}, hello);
    size_t begin = 4 + Below(random_, hello.size() - 3);
    Add(22, Slice(hello, 0, begin));
    while (begin < hello.size()) {
      const size_t end = std::min(hello.size(), begin + 1 + Below(random_, 300));
      Add(22, Slice(hello, begin, end));
      begin = end;
    }
  }

  // A header as it is told, and enough behind it.
  void AddRaw(size_t length, size_t body) {
    records.push_back(
        Concat(Bytes{23, 3, 3, static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)},
               Pattern(body, random_())));
  }

  void Misbehave() {
    const size_t shortest = keys_.prefix() + keys_.suffix() - ironsocket::kHeaderLength;
    switch (fault) {
      case Fault::kTooLong:
        return AddRaw(ironsocket::kMaxCiphertext12 + 1 + Below(random_, 20'000), 100);
      case Fault::kOverlong:  // honest but for its length
        return AddInner(
            23, Concat(Pattern(ironsocket::kMaxPlaintext + 1), Bytes(1 + Below(random_, 200), 23)));
      case Fault::kTooShort:
        return AddRaw(Below(random_, shortest), 100);
      case Fault::kAllZero:
        return AddInner(23, Bytes(1 + Below(random_, 100)));
      case Fault::kStrangeType:
        return Add(static_cast<uint8_t>(tls13() ? 1 + Below(random_, 20) : 20), {1});
      case Fault::kEmptyControl:
        return Add(static_cast<uint8_t>(21 + Below(random_, 2)), {});
      case Fault::kBadKeyUpdate: {
        static const Bytes kBad[] = {{24},
                                     {24, 0, 0},
                                     {24, 0, 0, 1},
                                     {24, 0, 0, 1, 2},
                                     {24, 0, 0, 2, 0, 0},
                                     {24, 0, 0, 1, 0, 0},
                                     {4, 0, 0, 1, 0}};
        return Add(22, kBad[Below(random_, std::size(kBad))]);
      }
      case Fault::kBadAlert: {
        static const Bytes kBad[] = {{1}, {2, 0, 0}, {2, 40}, {1, 0, 1, 0}, {2, 90}};
        return Add(21, kBad[Below(random_, std::size(kBad))]);
      }
      case Fault::kKeyUpdateFlood:
        for (int i = 0; i <= ironsocket::kMaxKeyUpdates; ++i) KeyUpdate();
        return;
      case Fault::kEmptyInHello:
      case Fault::kDataInHello:
      case Fault::kHelloLikeKeyUpdate:
        Add(22, {1, 0, 0, 5, 1, 1});
        at = records.size();
        if (fault == Fault::kHelloLikeKeyUpdate) return Add(22, {24, 1, 1});
        Add(23, Bytes(fault == Fault::kEmptyInHello ? 0 : 1));
        return Add(22, {1, 1, 1});
      default:
        return AddData(1 + Below(random_, 2000), 0);
    }
  }

  void Mutate() {
    Bytes& record = records[at];
    before = record;
    const auto flip = [&](size_t begin, size_t end) {
      record[begin + Below(random_, end - begin)] ^= static_cast<uint8_t>(1 << Below(random_, 8));
    };
    switch (fault) {
      case Fault::kBody:
        return flip(ironsocket::kHeaderLength, record.size() - ironsocket::kTagLength);
      case Fault::kTag:
        return flip(record.size() - ironsocket::kTagLength, record.size());
      case Fault::kVersion:
        return flip(1, 3);
      case Fault::kType:
        return flip(0, 1);
      case Fault::kLength:
        return flip(3, 5);
      case Fault::kReplayed:
        records.push_back(before);
        return;
      case Fault::kDropped:
        records.pop_back();
        return;
      case Fault::kSwapped:
        Speak();
        if (records.size() > at + 1) std::swap(records[at], records[at + 1]);
        return;
      case Fault::kCut:
        record.resize(Below(random_, record.size()));
        return;
      default:
        return;
    }
  }

  Random& random_;
  ironsocket::TrafficKeys keys_;
  size_t empties_ = 0;
};

// Whether there is such a thing in this version.
inline bool Applies(Fault fault, bool tls13) {
  switch (fault) {
    case Fault::kAllZero:
    case Fault::kKeyUpdateFlood:
      return tls13;
    case Fault::kEmptyInHello:
    case Fault::kDataInHello:
    case Fault::kHelloLikeKeyUpdate:
      return !tls13;
    default:
      return true;
  }
}
