// SPDX-License-Identifier: MIT
// Files that an operator (or whoever can write them) gives as chain and key.
#include "handshake/certificate.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#include "require.h"

using namespace ironsocket;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  Require(ftruncate(fd, 0) == 0 && pwrite(fd, bytes, size, 0) == static_cast<ssize_t>(size));
  Certificate certificate;
  CertificateReport report;
  std::string load_error, inspect_error;
  bool loaded = LoadCertificate(fd, fd, &certificate, &load_error);
  bool inspected = InspectCertificate(fd, fd, &report, &inspect_error);
  Require(loaded == load_error.empty() && inspected == inspect_error.empty());
  Require(!loaded || (inspected && report.key_matches));
  for (const CertificateInfo& info : report.chain) {
    for (const std::string& name : info.names) {
      Require(name.find('\0') == name.npos && name.size() <= 253);
    }
  }
  return 0;
}
