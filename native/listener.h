// SPDX-License-Identifier: MIT
// A listener as its connections see it: made by Engine::Configure, shared by the threads, kept
// alive by the connections that were accepted under it. Immutable but for the backend's addresses.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "handshake/context.h"
#include "listener_values.h"
#include "net/address.h"
#include "net/proxy_header.h"
#include "net/unique_fd.h"

namespace ironsocket {

using Endpoints = std::shared_ptr<const std::vector<Endpoint>>;

struct Listener : ListenerValues {
  UniqueFd fd;
  PeerAddress bound;  // what it is bound to
  bool wildcard =
      false;  // bound to every address: the local one has to be asked for each connection
  ServerContexts contexts;
  ProxyProtocol proxy_protocol = ProxyProtocol::kNone;
  uint32_t handshake_ms = 0;

  // The backend's addresses of the moment; never nullptr.
  Endpoints backend_addresses() const {
    std::lock_guard lock(mutex_);
    return addresses_;
  }
  void SetBackendAddresses(Endpoints addresses) {
    std::lock_guard lock(mutex_);
    addresses_ = std::move(addresses);
  }

 private:
  mutable std::mutex mutex_;
  Endpoints addresses_ = std::make_shared<const std::vector<Endpoint>>();
};

}  // namespace ironsocket
