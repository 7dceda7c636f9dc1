// SPDX-License-Identifier: BSD-3-Clause

// Every code block of README.md and docs/ is compiled or run somewhere: this test finds where.
//
// A block says what it is: `cpp` stands letter for letter in a program of examples/, which are built and
// run by other tests; the lines of `sh` are in a script of tests/ or are scripts that tests run
// themselves; `cmake` stands in a consumer test; `text` is what programs print, or a drawing.

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "support/repository.hpp"

namespace {

namespace fs = std::filesystem;

using vkring::test::content;
using vkring::test::root;

// All files below `folder` with one of the endings, one after the other.
std::string all_below(const std::string& folder, const std::vector<std::string>& endings) {
  std::string all;
  for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
    const std::string ending = entry.path().extension().string();
    const std::string name = entry.path().filename().string();
    const bool wanted = std::find(endings.begin(), endings.end(), ending) != endings.end() ||
                        std::find(endings.begin(), endings.end(), name) != endings.end();
    if (entry.is_regular_file() && wanted) all += content(entry.path());
  }
  return all;
}

struct block {
  std::string file;
  std::size_t line = 0;
  std::string language;
  std::string text;
};

std::vector<block> blocks_of(const std::string& file, const std::string& markdown) {
  std::vector<block> all;
  std::istringstream lines(markdown);
  std::string line;
  bool inside = false;
  for (std::size_t number = 1; std::getline(lines, line); ++number) {
    if (line.starts_with("```")) {
      if (!inside) all.push_back({file, number, line.substr(3), {}});
      inside = !inside;
    } else if (inside) {
      all.back().text += line + "\n";
    }
  }
  return all;
}

// The first line of a block of `sh` that none of the scripts has; empty if there is none.
std::string line_not_in(const std::string& scripts, const block& b) {
  std::istringstream lines(b.text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with("#") || line == "tests/run.sh") continue;
    if (scripts.find(line) == std::string::npos) return line;
  }
  return {};
}

// Where a block is not backed by anything; empty if it is.
std::string fault_of(const block& b) {
  static const std::string programs = all_below("examples", {".cpp", ".hpp"});
  static const std::string scripts = all_below("tests", {".sh"}) + all_below("examples", {".sh"}) +
                                     all_below("bench", {".sh", "run"}) + content(root / ".ci/run");
  static const std::string consumers = all_below("tests/consumer", {"CMakeLists.txt", ".cmake"});
  const std::string where = b.file + ":" + std::to_string(b.line) + ": ";
  if (b.language == "text") return {};
  if (b.language == "cpp") {
    return programs.find(b.text) != std::string::npos ? "" : where + "in no program of examples/";
  }
  if (b.language == "cmake") {
    return consumers.find(b.text) != std::string::npos ? "" : where + "in no consumer test";
  }
  if (b.language != "sh") return where + "of no known language: \"" + b.language + "\"";
  const std::string line = line_not_in(scripts, b);
  return line.empty() ? "" : where + "run by no script: " + line;
}

// Where the links of a page lead, but for those to the web and within the page.
std::vector<std::string> links_of(const std::string& markdown) {
  std::vector<std::string> all;
  std::istringstream lines(markdown);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) inside = !inside;
    for (std::size_t at = 0; !inside && (at = line.find("](", at)) != std::string::npos;) {
      at += 2;
      const std::string target = line.substr(at, line.find_first_of(")#", at) - at);
      if (!target.empty() && !target.starts_with("http")) all.push_back(target);
    }
  }
  return all;
}

}  // namespace

TEST_CASE("every code block of the documentation is compiled or run") {
  std::vector<block> all = blocks_of("README.md", content(root / "README.md"));
  for (const auto& entry : fs::directory_iterator(root / "docs")) {
    if (entry.path().extension() != ".md") continue;
    const auto more = blocks_of(entry.path().filename().string(), content(entry.path()));
    all.insert(all.end(), more.begin(), more.end());
  }
  REQUIRE(all.size() >= 5);
  for (const block& each : all) CHECK(fault_of(each) == "");
}

TEST_CASE("docs/exception-path.md has the steps that its own script runs") {
  const std::string script = content(root / "tests/kernel/exception_path.sh");
  std::size_t steps = 0;
  for (const block& each : blocks_of("", content(root / "docs/exception-path.md"))) {
    if (each.language != "sh") continue;
    CHECK(line_not_in(script, each) == "");
    ++steps;
  }
  CHECK(steps >= 8);
}

TEST_CASE("every page is linked from README.md, and no link leads nowhere") {
  const std::vector<std::string> linked = links_of(content(root / "README.md"));
  for (const std::string& each : linked) CHECK(fs::exists(root / each));
  for (const auto& entry : fs::directory_iterator(root / "docs")) {
    if (entry.path().extension() != ".md") continue;
    const std::string page = "docs/" + entry.path().filename().string();
    INFO(page);
    CHECK(std::find(linked.begin(), linked.end(), page) != linked.end());
    for (const std::string& each : links_of(content(entry.path()))) {
      INFO(each);
      CHECK(fs::exists(root / "docs" / each));
    }
  }
}

TEST_CASE("a block that nothing backs is found") {
  CHECK_FALSE(fault_of({"x.md", 1, "cpp", "int nowhere_to_be_found;\n"}).empty());
  CHECK_FALSE(fault_of({"x.md", 1, "sh", "rm --nowhere-to-be-found\n"}).empty());
  CHECK_FALSE(fault_of({"x.md", 1, "cmake", "project(nowhere_to_be_found)\n"}).empty());
  CHECK_FALSE(fault_of({"x.md", 1, "", "anything\n"}).empty());
  CHECK(fault_of({"x.md", 1, "text", "anything\n"}).empty());
}
