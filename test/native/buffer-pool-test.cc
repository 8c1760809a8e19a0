// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "loop/buffer_pool.h"
#include "loop/poison.h"
#include "record-oracle.h"

using namespace ironsocket;

namespace {

Bytes Content(Block& block) { return Bytes(block.bytes().begin(), block.bytes().end()); }

// Whether a page is mapped (mincore(2)).
bool Mapped(uint8_t* page) {
  unsigned char resident;
  return mincore(page, 1, &resident) == 0;
}

}  // namespace

TEST_CASE("pool: bytes that are appended one after the other move to larger blocks") {
  BufferPool pool;
  Block block;
  Bytes expected;
  std::set<uint32_t> capacities;
  for (uint32_t i = 0; expected.size() + i * 7 <= BufferPool::kLargest; i++) {
    const Bytes part = Pattern(i * 7, i);
    REQUIRE(pool.Append(&block, part));
    expected.insert(expected.end(), part.begin(), part.end());
    capacities.insert(block.capacity);
    REQUIRE(block.size() == expected.size());
  }
  CHECK(Content(block) == expected);
  CHECK(capacities == std::set<uint32_t>{0, 64, 256, 1024, 4096, 20480, 73728, 294912});
  pool.Release(&block);
  CHECK(block.data == nullptr);
  CHECK(block.capacity + block.begin + block.end == 0);
  pool.Release(&block);
}

TEST_CASE("pool: a block takes no more than the largest, and is then as before") {
  BufferPool pool;
  Block block;
  const Bytes most = Pattern(BufferPool::kLargest);
  REQUIRE(pool.Append(&block, most));
  CHECK_FALSE(pool.Append(&block, Bytes{1}));
  CHECK_FALSE(pool.Reserve(&block, SIZE_MAX / 2));
  CHECK(Content(block) == most);
  // What was used up in front makes room.
  block.begin += 100;
  REQUIRE(pool.Append(&block, Pattern(100, 2)));
  CHECK(block.begin == 0);
  CHECK(Content(block) == Concat(std::span(most).subspan(100), Pattern(100, 2)));
  pool.Release(&block);
  CHECK_FALSE(pool.Reserve(&block, BufferPool::kLargest + 1));
  CHECK(block.data == nullptr);
}

TEST_CASE("pool: an emptied block starts at its front again") {
  BufferPool pool;
  Block block;
  REQUIRE(pool.Append(&block, Pattern(60)));
  const uint8_t* data = block.data;
  block.begin = 60;
  REQUIRE(pool.Append(&block, Pattern(64, 2)));
  CHECK(block.data == data);
  CHECK(Content(block) == Pattern(64, 2));
  REQUIRE(pool.Append(&block, {}));
  pool.Release(&block);
}

TEST_CASE("pool: blocks never overlap, however they come and go") {
  BufferPool pool;
  std::vector<Block> blocks(300);
  std::vector<Bytes> expected(300);
  uint32_t state = 7;
  for (int step = 0; step < 20'000; step++) {
    state = state * 1664525 + 1013904223;
    const size_t i = (state >> 8) % blocks.size();
    if ((state >> 28) == 0) {
      pool.Release(&blocks[i]);
      expected[i].clear();
    } else if ((state >> 28) == 1) {
      const uint32_t used = static_cast<uint32_t>(blocks[i].size() / 2);
      blocks[i].begin += used;
      expected[i].erase(expected[i].begin(), expected[i].begin() + used);
    } else {
      const Bytes part = Pattern((state >> 20) % 200, state);
      REQUIRE(pool.Append(&blocks[i], part));
      expected[i].insert(expected[i].end(), part.begin(), part.end());
    }
  }
  for (size_t i = 0; i < blocks.size(); i++) {
    REQUIRE(Content(blocks[i]) == expected[i]);
    pool.Release(&blocks[i]);
  }
}

TEST_CASE("pool: freed large blocks go back to the kernel, but for six") {
  BufferPool pool;
  std::vector<Block> blocks(40);
  std::vector<uint8_t*> pages;
  for (Block& block : blocks) {
    REQUIRE(pool.Reserve(&block, BufferPool::kLargest));
    pages.push_back(block.data);
  }
  CHECK(std::count_if(pages.begin(), pages.end(), Mapped) == 40);
  for (Block& block : blocks) pool.Release(&block);
  CHECK(std::count_if(pages.begin(), pages.end(), Mapped) == 6);
}

TEST_CASE("pool: what is held is counted, what is not the sanitizer knows as nobody's") {
  BufferPool pool;
  Block small, large;
  CHECK(pool.Append(&small, Pattern(50)));
  CHECK(pool.Append(&large, Pattern(100'000)));
  CHECK(pool.held() == 2);
  CHECK(pool.Append(&small, Pattern(5000)));  // in a larger block now
  CHECK(pool.held() == 2);
  CHECK(pool.Secure(6));
  CHECK(pool.held() == 2);
  uint8_t* const data = small.data;
  pool.Release(&small);
  pool.Release(&small);
  CHECK(pool.held() == 1);
#ifdef __SANITIZE_ADDRESS__
  CHECK(__asan_address_is_poisoned(data + 4000));
  CHECK(__asan_region_is_poisoned(large.data, large.capacity) == nullptr);
#endif
  CHECK(pool.Append(&small, Pattern(5000)));
  CHECK(small.data == data);
  CHECK(Content(small) == Pattern(5000));
  pool.Release(&small);
  pool.Release(&large);
  CHECK(pool.held() == 0);
}

#ifndef __SANITIZE_THREAD__  // which ends a program that it gets no memory in
// A child of its own, because a limit on memory can't be taken back. 0: all held.
static int SecureUnderShortage() {
  BufferPool pool;
  Block parked;
  if (!pool.Secure(4)) return 1;
  if (!pool.Append(&parked, Pattern(50))) return 2;
  const rlimit none{0, 0};
  setrlimit(RLIMIT_AS, &none);  // no new mapping from here on
  if (pool.Secure(5)) return 3;
  Block blocks[4];
  uint8_t bytes[1000] = {};
  for (Block& block : blocks) {
    for (size_t i = 0; i < BufferPool::kLargest / sizeof bytes; i++) {
      if (!pool.Append(&block, bytes)) return 4;
    }
  }
  Block more;
  if (pool.Append(&more, std::span(bytes).first(100)) || more.data) return 5;
  if (parked.size() != 50) return 6;
  pool.Release(&blocks[0]);
  // A small wish is met with a large block.
  if (!pool.Append(&more, std::span(bytes).first(100))) return 7;
  if (more.capacity != BufferPool::kLargest) return 8;
  return 0;
}

TEST_CASE("pool: what Secure has made certain is there when memory is short") {
  const pid_t child = fork();
  if (child == 0) _exit(SecureUnderShortage());
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif
