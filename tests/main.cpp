// SPDX-License-Identifier: BSD-3-Clause

// The main function of every test program.
//
// Exit status: 0 passed; 77 every case that ran was skipped; 1 anything else. Catch2's own main
// returns the number of failed checks, so that 77 of them would look like a skip to ctest.

#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "support/skip.hpp"

namespace {

struct {
  unsigned ran = 0;
  unsigned failed = 0;
  unsigned skipped = 0;
} cases;
std::string skip_reason;

// tests/run.sh gathers the skipped cases of all programs in one file and compares them with those
// that it expects.
void log_skip(const std::string& name) {
  std::printf("skipped: %s: %s\n", name.c_str(), skip_reason.c_str());
  std::fflush(stdout);
  const char* path = std::getenv("VKRING_SKIP_LOG");
  if (path == nullptr) return;
  std::FILE* log = std::fopen(path, "a");
  if (log == nullptr) {
    std::perror(path);
    std::exit(1);
  }
  std::fprintf(log, "%s: %s\t%s\n", program_invocation_short_name, name.c_str(),
               skip_reason.c_str());
  std::fclose(log);
}

struct case_counter : Catch::TestEventListenerBase {
  using TestEventListenerBase::TestEventListenerBase;

  void testCaseStarting(const Catch::TestCaseInfo&) override { skip_reason.clear(); }

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    ++cases.ran;
    if (stats.totals.testCases.failed != 0) {
      ++cases.failed;
    } else if (!skip_reason.empty()) {
      ++cases.skipped;
      log_skip(stats.testInfo.name);
    }
  }
};
CATCH_REGISTER_LISTENER(case_counter)

}  // namespace

void vkring::test::skip(std::string_view reason) { skip_reason = reason; }

int main(int argc, char** argv) {
  Catch::Session session;
  if (session.applyCommandLine(argc, argv) != 0) return 1;
  if (session.run() != 0 || cases.failed != 0) return 1;

  const auto& asked = session.configData();
  const bool only_lists = asked.showHelp || asked.libIdentify || asked.listTests ||
                          asked.listTags || asked.listReporters || asked.listTestNamesOnly;
  if (only_lists) return 0;
  if (cases.ran == 0) {
    std::fputs("no test case ran\n", stderr);
    return 1;
  }
  return cases.skipped == cases.ran ? 77 : 0;
}
