// SPDX-License-Identifier: MIT
// Bytes from the network through the userspace engine, which two sessions share. First byte: they
// are sealed under good keys first (any content of any type), so that all behind the AEAD is
// reached down to Judge; or sealed, then one byte changed; or taken as they are. What was sealed
// comes out again, up to the first fault and nothing behind it.
#include <algorithm>
#include <vector>

#include "reading.h"

using namespace ironsocket;

namespace {

struct Stream {
  Bytes bytes;
  std::vector<Reader::Record> records;
  std::vector<size_t> ends;  // of the records, in `bytes`
};

// Lengths and types out of the input.
Stream Seal(TrafficKeys keys, std::span<const uint8_t> input) {
  Aead aead;
  Stream stream;
  while (input.size() >= 2 && stream.bytes.size() < 100'000) {
    const size_t length = std::min<size_t>(input[0], input.size() - 2);
    const auto type = static_cast<ContentType>(input[1] % 8 + 18);
    const Bytes content(input.begin() + 2, input.begin() + 2 + static_cast<ptrdiff_t>(length));
    Bytes record(keys.prefix() + length + keys.suffix());
    std::copy(content.begin(), content.end(),
              record.begin() + static_cast<ptrdiff_t>(keys.prefix()));
    Require(SealRecord(aead, keys, type, record.data(), length) == record.size());
    stream.bytes.insert(stream.bytes.end(), record.begin(), record.end());
    stream.records.push_back({type, content});
    stream.ends.push_back(stream.bytes.size());
    if (type == ContentType::kHandshake && length > 0 && content[0] == kKeyUpdate &&
        keys.version == TlsVersion::kTls13) {
      Require(NextGeneration(&keys));
    }
    input = input.subspan(2 + length);
  }
  return stream;
}

Pace PaceOf(uint8_t choice) {
  static constexpr size_t kPieces[] = {1, 5, 37, SIZE_MAX};
  static constexpr size_t kLimits[] = {1, 7, 1000, SIZE_MAX};
  static constexpr size_t kRecords[] = {1, 2, 3, SIZE_MAX};
  return {kPieces[choice & 3], kLimits[choice >> 2 & 3], kRecords[choice >> 4 & 3],
          (choice & 0x40) != 0};
}

// What came out is the front of what went in.
void CheckFront(const Reader& reader, const Stream& stream) {
  Require(reader.records.size() <= stream.records.size());
  for (size_t i = 0; i < reader.records.size(); i++) {
    Require(reader.records[i].type == stream.records[i].type);
    Require(reader.records[i].content == stream.records[i].content);
  }
}

// Another session of the same thread, a record of whose comes before and after every byte.
class Neighbour {
 public:
  Neighbour() : keys_(FixedKeys(0)), reader_(FixedKeys(0)) {}

  void Turn() {
    static constexpr uint8_t kContent[] = {'n'};
    Bytes record(keys_.prefix() + 1 + keys_.suffix());
    record[keys_.prefix()] = kContent[0];
    Require(SealRecord(aead_, keys_, ContentType::kApplicationData, record.data(), 1) ==
            record.size());
    rest_.insert(rest_.end(), record.begin(), record.end());
    const std::span<const uint8_t> now = std::span(rest_).first(rest_.size() - 3);
    reader_.Feed(now, {});
    rest_.erase(rest_.begin(), rest_.begin() + static_cast<ptrdiff_t>(now.size()));
    Require(!reader_.ended && reader_.data.size() == turns_++);
  }

 private:
  Aead aead_;
  TrafficKeys keys_;
  Reader reader_;
  Bytes rest_;
  size_t turns_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 5 || size > 20'000) return 0;
  enum { kSealed, kDamaged, kRaw };
  const int mode = bytes[0] % 3;
  const Pace pace = PaceOf(bytes[1]);
  const std::span<const uint8_t> input(bytes + 5, size - 5);
  Stream stream;
  if (mode == kRaw) stream.bytes.assign(input.begin(), input.end());
  if (mode != kRaw) stream = Seal(FixedKeys(bytes[2]), input);
  if (stream.bytes.empty()) return 0;
  const size_t damage = (bytes[3] << 8 | bytes[4]) % stream.bytes.size();
  if (mode == kDamaged) stream.bytes[damage] ^= bytes[3] | 1;

  Reader reader(FixedKeys(bytes[2]));
  Neighbour neighbour;
  neighbour.Turn();
  const std::span<const uint8_t> all(stream.bytes);
  reader.Feed(all.first(damage), pace);
  neighbour.Turn();
  reader.Feed(all.subspan(damage), pace);
  neighbour.Turn();

  if (mode == kRaw) Require(reader.records.empty());  // nobody guesses a tag
  if (mode != kRaw) CheckFront(reader, stream);
  if (mode == kSealed && !reader.ended) Require(reader.records.size() == stream.records.size());
  if (mode == kDamaged && reader.records.size() > 0) {
    Require(stream.ends[reader.records.size() - 1] <= damage);
  }
  return 0;
}
