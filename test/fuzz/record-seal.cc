// SPDX-License-Identifier: MIT
// The userspace engine's sending side against a socket that takes little at a time: whatever the
// order of data, alerts, key updates and the client's reading, the client opens exactly what was
// given, in order; nothing is sealed once a sequence number is used up.

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include "../native/socket-pair.h"
#include "reading.h"

using namespace ironsocket;

namespace {

class Writing {
 public:
  Writing(uint8_t choice, uint8_t fragment, uint64_t sequence) : client_keys_(FixedKeys(choice)) {
    const int little = 4096;
    Require(setsockopt(pair_.ours.get(), SOL_SOCKET, SO_SNDBUF, &little, sizeof little) == 0);
    tx_.keys = FixedKeys(choice);
    tx_.keys.sequence = client_keys_.sequence = sequence;
    static constexpr uint16_t kContent[] = {kMaxPlaintext, 512, 1024, 4096};
    tx_.max_content = kContent[fragment % 4];
  }
  ~Writing() { sender_.Forget(tx_); }

  void Data(size_t length, uint8_t seed) {
    if (tx_.pending() || spent_) return;
    Require(pool_.Secure(1));
    iovec pieces[RecordSender::kMaxPieces];
    const size_t count = sender_.Room(tx_, std::max<size_t>(length, 1), pieces);
    size_t done = 0;
    Bytes content;
    for (size_t i = 0; i < count && done < length; done += pieces[i++].iov_len) {
      std::fill_n(static_cast<uint8_t*>(pieces[i].iov_base), pieces[i].iov_len, seed);
      content.insert(content.end(), std::min(pieces[i].iov_len, length - done), seed++);
    }
    if (!sender_.Seal(tx_, content.size())) return Spend();
    data_.insert(data_.end(), content.begin(), content.end());
    Flush();
  }
  void Alert(uint8_t description) {
    const uint8_t content[] = {kAlertWarning, description};
    if (tx_.unsent.size() > 100'000 || spent_) return;
    if (!sender_.SealControl(tx_, ContentType::kAlert, content)) return Spend();
    alerts_.push_back({data_.size(), description});
    Flush();
  }
  void KeyUpdate(bool request) {
    if (tx_.pending() || tx_.keys.version != TlsVersion::kTls13 || spent_) return;
    if (sender_.SealKeyUpdate(tx_, request) != 0) return Spend();
    key_updates_++;
    Flush();
  }
  void Flush() {
    const int error = sender_.Flush(tx_, pair_.ours.get());
    Require(error == 0 ? tx_.unsent.empty() : error == -EAGAIN && !tx_.unsent.empty());
  }
  // The client reads so many bytes.
  void Read(size_t most) {
    uint8_t part[4096];
    const ssize_t got = recv(pair_.theirs.get(), part, std::min(most, sizeof part), MSG_DONTWAIT);
    if (got > 0) wire_.insert(wire_.end(), part, part + got);
  }
  void Check() {
    for (bool more = true; more;) {
      const size_t before = wire_.size();
      Flush();
      Read(SIZE_MAX);
      more = wire_.size() > before;
    }
    Require(tx_.unsent.empty());
    Open();
  }

 private:
  void Spend() {
    Require(tx_.keys.sequence == UINT64_MAX);
    spent_ = true;
  }

  void Open() {
    Bytes data;
    std::span<uint8_t> left(wire_);
    size_t alert = 0, updates = 0;
    while (!left.empty()) {
      size_t length = 0;
      OpenedRecord record;
      Require(left.size() >= kHeaderLength);
      Require(ParseHeader(client_keys_, left.first<kHeaderLength>(), &length) ==
              ironsocket::Alert::kNone);
      Require(length <= left.size());
      Require(OpenRecord(aead_, client_keys_, left.first(length), &record) ==
              ironsocket::Alert::kNone);
      left = left.subspan(length);
      if (record.type == ContentType::kApplicationData) {
        Require(!record.content.empty() && record.content.size() <= tx_.max_content);
        data.insert(data.end(), record.content.begin(), record.content.end());
      } else if (record.type == ContentType::kAlert) {
        Require(alerts_.at(alert).behind == data.size());
        Require(alerts_.at(alert++).description == record.content[1]);
      } else {
        Require(NextGeneration(&client_keys_));
        updates++;
      }
    }
    // A batch of which no more than its front could be sealed goes as a whole, or not at all.
    Require(data == data_);
    Require(alert == alerts_.size() && updates == key_updates_);
  }

  struct AlertAt {
    size_t behind;
    uint8_t description;
  };
  Aead aead_;
  BufferPool pool_;
  std::unique_ptr<uint8_t[]> scratch_{new uint8_t[BufferPool::kLargest]};
  UserspaceSender sender_{aead_, pool_, scratch_.get()};
  SocketPair pair_{SOCK_STREAM | SOCK_NONBLOCK};
  Sending tx_;
  TrafficKeys client_keys_;
  bool spent_ = false;
  Bytes data_, wire_;
  std::vector<AlertAt> alerts_;
  size_t key_updates_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size < 3 || size > 600) return 0;
  const uint64_t sequence = bytes[2] < 16 ? UINT64_MAX - bytes[2] : bytes[2];
  Writing writing(bytes[0], bytes[1], sequence);
  for (size_t at = 3; at + 1 < size; at += 2) {
    const uint8_t amount = bytes[at + 1];
    switch (bytes[at] % 6) {
      case 0:
        writing.Data(amount, bytes[at]);
        break;
      case 1:
        writing.Data(amount * 1100u, bytes[at]);
        break;
      case 2:
        writing.Alert(amount);
        break;
      case 3:
        writing.KeyUpdate(amount & 1);
        break;
      case 4:
        writing.Flush();
        break;
      default:
        writing.Read(amount * 16u);
    }
  }
  writing.Check();
  return 0;
}
