// SPDX-License-Identifier: MIT
// Why sessions stay with the donor.
#pragma once

#include <cstdint>

namespace ironsocket {

// The numbers below 100 are on the wire (ANSWER): they never change their meaning.
enum class Refusal : uint32_t {
  kNone = 0,
  kOther,        // none that we know
  kVersion,      // no neighbour of the recipient's
  kMessage,      // PREPARE is damaged, or says what did not come with it
  kDescriptors,  // the recipient has no room for them (MSG_CTRUNC)
  kFrame,        // no session could be made of one
  kSockets,      // they are not those of the frames
  kShortage,     // the recipient is short of memory
  // What only the donor knows.
  kSilence = 100,  // no answer came in time
  kGone,           // the recipient, before it answered
  kUnsent,         // the message could not be sent
};
// As words for a report: "the new worker has no room for more descriptors"; "" for kNone.
const char* RefusalText(Refusal refusal);

}  // namespace ironsocket
