// SPDX-License-Identifier: MIT
#include "handoff/refusal.h"

namespace ironsocket {

const char* RefusalText(Refusal refusal) {
  switch (refusal) {
    case Refusal::kNone:
      return "";
    case Refusal::kOther:
      break;
    case Refusal::kVersion:
      return "the new worker does not know this version of the handoff";
    case Refusal::kMessage:
      return "the new worker can't read the handoff's message";
    case Refusal::kDescriptors:
      return "the new worker has no room for more descriptors";
    case Refusal::kFrame:
      return "the new worker can't make a session of what it was told";
    case Refusal::kSockets:
      return "the sockets are not those that the new worker was told of";
    case Refusal::kShortage:
      return "the new worker is short of memory";
    case Refusal::kSilence:
      return "the new worker does not answer";
    case Refusal::kGone:
      return "the new worker is gone";
    case Refusal::kUnsent:
      return "the handoff's message can't be sent";
  }
  return "the new worker refuses them";
}

}  // namespace ironsocket
