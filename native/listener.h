// SPDX-License-Identifier: MIT
// A listener as its connections see it: made by Engine::Configure, shared by the threads, kept
// alive by the connections that were accepted under it. Immutable but for the backend's addresses.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "handshake/context.h"
#include "net/address.h"
#include "net/proxy_header.h"
#include "net/unique_fd.h"
#include "record/offload.h"

namespace ironsocket {

using Endpoints = std::shared_ptr<const std::vector<Endpoint>>;

struct Listener {
  uint32_t id = 0;
  std::string name;
  UniqueFd fd;
  PeerAddress bound;  // what it is bound to
  bool wildcard =
      false;  // bound to every address: the local one has to be asked for each connection
  ServerContexts contexts;
  std::string backend;  // as configured
  ProxyProtocol proxy_protocol = ProxyProtocol::kNone;
  uint32_t handshake_ms = 0;
  uint32_t connect_ms = 0;
  uint32_t idle_ms = 0;         // 0: never
  uint32_t half_closed_ms = 0;  // 0: never
  bool reset_on_truncation = false;
  OffloadPolicy offload;

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
