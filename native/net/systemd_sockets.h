// SPDX-License-Identifier: MIT
// Listening sockets that systemd passes at the start of a service (sd_listen_fds(3)): descriptors
// from 3 on, with names in the environment.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/unique_fd.h"

namespace ironsocket {

// What `count` sockets are called, each differently, by the names that systemd gives
// (LISTEN_FDNAMES: with colons in between, `unknown` where one is missing). A name that stands for
// several comes as NAME, NAME:2 and so on.
std::vector<std::string> SystemdSocketNames(std::string_view names, size_t count);

// Takes them, non-blocking and close-on-exec, and removes them from the environment. Closes every
// other descriptor above 2: what a shell or a supervisor left open must not live as long as a
// service. First call of a process.
std::vector<std::pair<std::string, UniqueFd>> TakeSystemdSockets();

}  // namespace ironsocket
