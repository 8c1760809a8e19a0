// SPDX-License-Identifier: MIT
// System calls that fail because a test says so: failing-calls.cc stands before the C library.
#pragma once

enum class FailingCall { kSendmsg, kFallocate };

// While it lives, the next `most` calls of this thread fail with `error`. One at a time.
class FailingCalls {
 public:
  FailingCalls(FailingCall call, int error, int most);
  ~FailingCalls();
  FailingCalls(const FailingCalls&) = delete;
  FailingCalls& operator=(const FailingCalls&) = delete;
  int left() const;
};
