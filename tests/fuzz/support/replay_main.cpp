// SPDX-License-Identifier: BSD-3-Clause

// Runs a fuzz body without libFuzzer: over every file of the corpus folders named on the command
// line, and over pseudo-random inputs that are the same in every run.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

constexpr unsigned random_inputs = 20'000;
static_assert(random_inputs > 0, "a run without a corpus must run something");
constexpr std::size_t largest_input = 1024;

using bytes = std::vector<std::uint8_t>;

[[noreturn]] void give_up(const char* what, const char* where) {
  std::fprintf(stderr, "%s: %s\n", where, what);
  std::exit(1);
}

void run(const bytes& input) {
  // A copy of its own size, so that a sanitizer sees a read past the end.
  const bytes exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

unsigned run_corpus(const char* folder) {
  std::error_code failed;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failed)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  if (failed) give_up(failed.message().c_str(), folder);
  if (files.empty()) give_up("the corpus has no files", folder);
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) give_up("cannot be read", file.c_str());
    run(bytes(std::istreambuf_iterator<char>(stream), {}));
  }
  return static_cast<unsigned>(files.size());
}

// Uniform bytes seldom say anything to a body that reads small numbers from them, so that half of
// the inputs are made of small values.
bytes random_input(std::mt19937_64& source) {
  bytes input(source() % (largest_input + 1));
  const std::uint64_t limit = source() % 2 == 0 ? 256 : 1 + source() % 8;
  for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(source() % limit);
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned from_corpus = 0;
  for (int i = 1; i < argc; ++i) from_corpus += run_corpus(argv[i]);
  std::mt19937_64 source(1);
  for (unsigned i = 0; i < random_inputs; ++i) run(random_input(source));
  std::printf("%u executions: %u corpus files, %u random inputs\n", from_corpus + random_inputs,
              from_corpus, random_inputs);
}
