// SPDX-License-Identifier: MIT
// Listening sockets that systemd passes at the start of a service (sd_listen_fds(3)): descriptors
// from 3 on, with names in the environment.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "net/unique_fd.h"

namespace ironsocket {

// Takes them, non-blocking and close-on-exec, and removes them from the environment. A name that
// stands for several sockets comes as NAME, NAME:2 and so on. Closes every other descriptor above
// 2: what a shell or a supervisor left open must not live as long as a service. First call of a
// process.
std::vector<std::pair<std::string, UniqueFd>> TakeSystemdSockets();

}  // namespace ironsocket
