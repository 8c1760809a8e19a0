// SPDX-License-Identifier: MIT
// Changes handoff frames and makes their checksum right again, written from docs/handoff.md.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

struct FrameEdit {
  using Bytes = std::vector<uint8_t>;
  static constexpr size_t kHeader = 20;

  static uint64_t Get(const Bytes& frame, size_t at, size_t count) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; ++i) value |= uint64_t{frame[at + i]} << (8 * i);
    return value;
  }
  static void Put(Bytes* frame, size_t at, size_t count, uint64_t value) {
    for (size_t i = 0; i < count; ++i) (*frame)[at + i] = static_cast<uint8_t>(value >> (8 * i));
  }
  static void SetLength(Bytes* frame, size_t length) { Put(frame, 8, 4, length); }

  // Magic, length and checksum of what is there.
  static void Seal(Bytes* frame) {
    if (frame->size() < kHeader) return;
    const uint8_t magic[] = {'I', 'S', 'H', 'F'};
    std::copy(std::begin(magic), std::end(magic), frame->begin());
    SetLength(frame, frame->size());
    uint64_t sum = 0x9E3779B97F4A7C15;
    const auto mix = [&](size_t begin, size_t end) {
      for (size_t at = begin; at < end; at += 8) {
        uint64_t word = 0;
        if (end - at >= 8) {
          word = Get(*frame, at, 8);
        } else {
          for (size_t i = at; i < end; ++i) word = word << 8 | (*frame)[i];
        }
        sum = (sum ^ word) * 0xD6E8FEB86659FD93;
        sum ^= sum >> 32;
      }
    };
    mix(0, 12);
    mix(kHeader, frame->size());
    Put(frame, 12, 8, sum);
  }

  static Bytes WithVersion(Bytes frame, uint16_t version) {
    Put(&frame, 4, 2, version);
    Seal(&frame);
    return frame;
  }

  static Bytes WithField(Bytes frame, uint16_t type, uint16_t flags, const Bytes& value) {
    const size_t at = frame.size();
    frame.resize(at + 8);
    Put(&frame, at, 2, type);
    Put(&frame, at + 2, 2, flags);
    Put(&frame, at + 4, 4, value.size());
    frame.insert(frame.end(), value.begin(), value.end());
    Put(&frame, 6, 2, Get(frame, 6, 2) + 1);
    Seal(&frame);
    return frame;
  }

  // Where the field begins; the frame's size where it has none.
  static size_t Find(const Bytes& frame, uint16_t type) {
    size_t at = kHeader;
    while (at < frame.size() && Get(frame, at, 2) != type) at += 8 + Get(frame, at + 4, 4);
    return at;
  }

  static Bytes Without(Bytes frame, uint16_t type) {
    const size_t at = Find(frame, type);
    if (at == frame.size()) return frame;
    const auto begin = frame.begin() + static_cast<ptrdiff_t>(at);
    frame.erase(begin, begin + static_cast<ptrdiff_t>(8 + Get(frame, at + 4, 4)));
    Put(&frame, 6, 2, Get(frame, 6, 2) - 1);
    Seal(&frame);
    return frame;
  }

  // Cuts bytes off the end of the field's value, or adds zeros.
  static Bytes Resized(Bytes frame, uint16_t type, ptrdiff_t by) {
    const size_t at = Find(frame, type);
    const size_t length = Get(frame, at + 4, 4);
    const auto end = frame.begin() + static_cast<ptrdiff_t>(at + 8 + length);
    if (by < 0) {
      frame.erase(end + by, end);
    } else {
      frame.insert(end, static_cast<size_t>(by), 0);
    }
    Put(&frame, at + 4, 4, length + static_cast<size_t>(by));
    Seal(&frame);
    return frame;
  }
};
