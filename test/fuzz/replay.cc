// SPDX-License-Identifier: MIT
// Runs a fuzz target once over each named file, and over all files of each named directory: the
// kept corpus is tested with any compiler.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size);

static bool RunFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  // A copy of the exact size: ASan notices a read past its end.
  std::vector<uint8_t> input(bytes.begin(), bytes.end());
  input.shrink_to_fit();
  if (!file.bad()) LLVMFuzzerTestOneInput(input.data(), input.size());
  return !file.bad() && file.is_open();
}

int main(int argc, char** argv) {
  size_t runs = 0;
  for (int i = 1; i < argc; i++) {
    std::vector<std::filesystem::path> paths;
    if (std::filesystem::is_directory(argv[i])) {
      for (const auto& entry : std::filesystem::directory_iterator(argv[i])) paths.push_back(entry);
    } else {
      paths.emplace_back(argv[i]);
    }
    for (const auto& path : paths) {
      if (!RunFile(path)) {
        std::fprintf(stderr, "can't read %s\n", path.c_str());
        return 1;
      }
      runs++;
    }
  }
  std::printf("%zu inputs\n", runs);
  return runs > 0 ? 0 : 1;  // a corpus that is not there must not look like one that passes
}
