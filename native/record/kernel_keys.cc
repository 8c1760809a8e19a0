// SPDX-License-Identifier: MIT
#include "record/kernel_keys.h"

#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace ironsocket {
namespace {

constexpr size_t kSaltLength = 4;
constexpr size_t kSequenceLength = 8;

int OptionOf(Direction direction) { return direction == Direction::kSend ? TLS_TX : TLS_RX; }

void Put64(uint8_t* out, uint64_t value) {
  for (int i = 7; i >= 0; --i, value >>= 8) out[i] = static_cast<uint8_t>(value);
}

uint64_t Get64(const uint8_t* in) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = value << 8 | in[i];
  return value;
}

// struct tls12_crypto_info_*: version and cipher, then iv, key, salt and rec_seq without gaps. The
// kernel takes exactly the size of the cipher's structure. ChaCha20-Poly1305 has no salt, its iv is
// whole. Holds a key, so it is wiped when it dies.
class CryptoInfo {
 public:
  explicit CryptoInfo(const TrafficKeys& keys)
      : salted_(keys.cipher != CipherType::kChacha20Poly1305),
        key_length_(CipherOf(keys.cipher).key_length) {}
  CryptoInfo(const CryptoInfo&) = delete;
  CryptoInfo& operator=(const CryptoInfo&) = delete;
  ~CryptoInfo() { OPENSSL_cleanse(bytes_, sizeof bytes_); }

  void Fill(const TrafficKeys& keys) {
    const tls_crypto_info head{static_cast<uint16_t>(keys.version),
                               static_cast<uint16_t>(keys.cipher)};
    std::memcpy(bytes_, &head, sizeof head);
    uint8_t* iv = bytes_ + sizeof head;
    if (!salted_) {
      std::memcpy(iv, keys.iv, kIvLength);
      iv += kIvLength;
    } else {
      // TLS 1.2: the kernel sends iv as the explicit nonce and counts it on.
      if (keys.explicit_nonces()) {
        Put64(iv, keys.explicit_nonce);
      } else {
        std::memcpy(iv, keys.iv + kSaltLength, kIvLength - kSaltLength);
      }
      iv += kIvLength - kSaltLength;
      std::memcpy(iv + key_length_, keys.iv, kSaltLength);
    }
    std::memcpy(iv, keys.key, key_length_);
    Put64(sequence(), keys.sequence);
  }

  // What the kernel counts is not compared: rec_seq, and in TLS 1.2 the explicit nonce.
  bool HasKeysOf(CryptoInfo& other, const TrafficKeys& keys) {
    std::memcpy(other.sequence(), sequence(), kSequenceLength);
    if (keys.explicit_nonces()) std::memcpy(other.iv(), iv(), kIvLength - kSaltLength);
    return CRYPTO_memcmp(bytes_, other.bytes_, size()) == 0;
  }

  // rec_seq. iv and salt together are always as long as the whole IV.
  uint8_t* sequence() { return bytes_ + sizeof(tls_crypto_info) + kIvLength + key_length_; }
  uint8_t* iv() { return bytes_ + sizeof(tls_crypto_info); }
  uint8_t* data() { return bytes_; }
  socklen_t size() const {
    return static_cast<socklen_t>(sizeof(tls_crypto_info) + kIvLength + key_length_ +
                                  kSequenceLength);
  }

 private:
  const bool salted_;
  const size_t key_length_;
  uint8_t bytes_[sizeof(tls_crypto_info) + kIvLength + kMaxKeyLength + kSequenceLength] = {};
};

}  // namespace

int AttachUlp(int fd) {
  static constexpr char kName[] = "tls";
  return setsockopt(fd, IPPROTO_TCP, TCP_ULP, kName, sizeof kName) == 0 ? 0 : -errno;
}

int InstallKeys(int fd, Direction direction, const TrafficKeys& keys) {
  CryptoInfo info(keys);
  info.Fill(keys);
  return setsockopt(fd, SOL_TLS, OptionOf(direction), info.data(), info.size()) == 0 ? 0 : -errno;
}

int ReadSequence(int fd, Direction direction, const TrafficKeys& keys, uint64_t* sequence) {
  CryptoInfo info(keys);
  socklen_t size = info.size();
  if (getsockopt(fd, SOL_TLS, OptionOf(direction), info.data(), &size) != 0) return -errno;
  *sequence = Get64(info.sequence());
  return 0;
}

bool CompareKeys(int fd, Direction direction, const TrafficKeys& keys, uint64_t* sequence) {
  CryptoInfo theirs(keys);
  CryptoInfo ours(keys);
  ours.Fill(keys);
  socklen_t size = theirs.size();
  if (getsockopt(fd, SOL_TLS, OptionOf(direction), theirs.data(), &size) != 0) return false;
  *sequence = Get64(theirs.sequence());
  return theirs.HasKeysOf(ours, keys);
}

void SampleSequence(int fd, Direction direction, TrafficKeys& keys) {
  uint64_t sequence = 0;
  if (ReadSequence(fd, direction, keys, &sequence) == 0) keys.sequence = sequence;
}

}  // namespace ironsocket
