// SPDX-License-Identifier: MIT
// Whatever a client sends first. The first byte says in how many pieces it comes.
#include <openssl/err.h>

#include <algorithm>

#include "handshake/certificate.h"
#include "handshake/handshake.h"
#include "require.h"

using namespace ironsocket;

namespace {

const ServerContexts& Contexts() {
  static const ServerContexts* const contexts = [] {
    UniqueFd chain, key;
    std::string error;
    ContextOptions options;
    options.identity = "fuzz";
    options.min_version = "1.2";
    options.max_version = "1.3";
    options.alpn = {"h2", "http/1.1"};
    options.tickets.reset(TicketKeys::Map(TicketKeys::Create().get()));
    for (const char* name : {"localhost", "*.example"}) {
      Require(GenerateCertificate({name}, 30, &chain, &key, &error));
      Require(
          LoadCertificate(chain.get(), key.get(), &options.certificates.emplace_back(), &error));
    }
    auto* made = new ServerContexts;
    Require(made->Build(std::move(options), &error));
    return made;
  }();
  return *contexts;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (size == 0) return 0;
  Handshake handshake(Contexts());
  Require(handshake.valid());
  const size_t step = 1 + bytes[0] * 16u;
  std::vector<uint8_t> output;
  std::span<const uint8_t> left(bytes + 1, size - 1);
  Handshake::Status status = Handshake::Status::kWantRead;
  while (!left.empty() && status == Handshake::Status::kWantRead) {
    std::span<const uint8_t> piece = left.first(std::min(step, left.size()));
    const size_t before = piece.size();
    status = handshake.Advance(&piece, &output);
    Require(status != Handshake::Status::kWantRead || piece.empty());
    left = left.subspan(before - piece.size());
  }
  Require(status != Handshake::Status::kDone);  // nobody guesses a Finished
  Require((status == Handshake::Status::kFailed) == !handshake.error().empty());
  Require(handshake.sni().size() <= 255);
  Require(ERR_peek_error() == 0);
  return 0;
}
