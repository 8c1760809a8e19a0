// SPDX-License-Identifier: MIT
// fuzz-replay TARGET PATH...: runs a fuzz target once over each named file, and over all files of
// each named directory: the kept corpus is tested with any compiler.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

// Written by CMakeLists.txt: TARGET(name, its LLVMFuzzerTestOneInput) for each.
#define TARGET(name, function) extern "C" int function(const uint8_t* bytes, size_t size);
#include "fuzz-targets.h"
#undef TARGET

using Target = int (*)(const uint8_t* bytes, size_t size);

static Target Find(std::string_view wanted) {
#define TARGET(name, function) \
  if (wanted == name) return function;
#include "fuzz-targets.h"
#undef TARGET
  return nullptr;
}

static bool RunFile(Target target, const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  // A copy of the exact size: ASan notices a read past its end.
  std::vector<uint8_t> input(bytes.begin(), bytes.end());
  input.shrink_to_fit();
  if (!file.bad()) target(input.data(), input.size());
  return !file.bad() && file.is_open();
}

int main(int argc, char** argv) {
  const Target target = argc > 1 ? Find(argv[1]) : nullptr;
  if (target == nullptr) {
    std::fprintf(stderr, "fuzz-replay TARGET PATH...: no target %s\n",
                 argc > 1 ? argv[1] : "named");
    return 1;
  }
  size_t runs = 0;
  for (int i = 2; i < argc; i++) {
    std::vector<std::filesystem::path> paths;
    if (std::filesystem::is_directory(argv[i])) {
      for (const auto& entry : std::filesystem::directory_iterator(argv[i])) paths.push_back(entry);
    } else {
      paths.emplace_back(argv[i]);
    }
    for (const auto& path : paths) {
      if (!RunFile(target, path)) {
        std::fprintf(stderr, "can't read %s\n", path.c_str());
        return 1;
      }
      runs++;
    }
  }
  std::printf("%zu inputs\n", runs);
  return runs > 0 ? 0 : 1;  // a corpus that is not there must not look like one that passes
}
