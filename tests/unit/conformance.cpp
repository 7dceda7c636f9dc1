// SPDX-License-Identifier: BSD-3-Clause

// docs/conformance.md and tests/mutations/list.txt tell the truth: the tests that they name exist,
// each has a mutation that it has to catch, and each mutation applies to its header exactly once.

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "support/repository.hpp"

namespace {

namespace fs = std::filesystem;

using vkring::test::content;
using vkring::test::root;

std::size_t count_of(const std::string& text, const std::string& what) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) {
    ++count;
  }
  return count;
}

// Whether that file below tests/ has a case of that name; a fuzz body has none, and no name.
bool has_case(const std::string& file, const std::string& name) {
  if (name.empty()) return file.starts_with("fuzz/") && fs::exists(root / "tests" / file);
  return count_of(content(root / "tests" / file), "TEST_CASE(\"" + name + "\"") == 1;
}

// Whether the cases of `file` are among those of `program`.
bool runs(const std::string& program, const std::string& file) {
  if (program == file) return true;
  const fs::path path(file);
  return path.parent_path() == fs::path(program).parent_path() &&
         count_of(content(root / "tests" / program),
                  "#include \"" + path.filename().string() + "\"") == 1;
}

struct mutation {
  std::string name, header, program, test, before, after;
};

std::vector<mutation> mutations_of(const std::string& list) {
  std::vector<mutation> all;
  std::istringstream lines(list);
  for (std::string line; std::getline(lines, line);) {
    const auto space = line.find(' ');
    if (line.starts_with("#") || space == std::string::npos) continue;
    const std::string key = line.substr(0, space);
    const std::string value = line.substr(space + 1);
    if (key == "mutation") all.push_back({value, {}, {}, {}, {}, {}});
    REQUIRE_FALSE(all.empty());
    if (key == "header") all.back().header = value;
    if (key == "program") all.back().program = value;
    if (key == "case") all.back().test = value;
    if (key == "-") all.back().before = value;
    if (key == "+") all.back().after = value;
  }
  return all;
}

// What is wrong with a mutation; empty if nothing is.
std::string fault_of(const mutation& of) {
  if (of.before.empty() || of.after.empty() || of.before == of.after) return "changes nothing";
  if (count_of(content(root / "include/vkring" / of.header), of.before) != 1) {
    return "does not apply exactly once";
  }
  const std::string folder = of.program.substr(0, of.program.find('/') + 1);
  std::size_t found = 0;
  for (const auto& entry : fs::directory_iterator(root / "tests" / folder)) {
    const std::string file = folder + entry.path().filename().string();
    if (runs(of.program, file) && has_case(file, of.test)) ++found;
  }
  return found == 1 ? "" : "its program has no such case";
}

// A line of the document: - `FILE` "CASE": `MUTATION`, `MUTATION`
struct reference {
  std::string line, file, test;
  std::vector<std::string> mutations;
};

std::vector<reference> references_of(const std::string& document) {
  std::vector<reference> all;
  std::istringstream lines(document);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("- `")) continue;
    reference next{line, {}, {}, {}};
    const auto end = line.find('`', 3);
    next.file = line.substr(3, end - 3);
    std::string_view rest = std::string_view(line).substr(end + 1);
    if (rest.starts_with(" \"")) {
      const auto quote = rest.find('"', 2);
      next.test = rest.substr(2, quote - 2);
      rest.remove_prefix(quote + 1);
    }
    for (auto from = rest.find('`'); from != std::string_view::npos; from = rest.find('`')) {
      const auto to = rest.find('`', from + 1);
      next.mutations.emplace_back(rest.substr(from + 1, to - from - 1));
      rest.remove_prefix(to + 1);
    }
    all.push_back(next);
  }
  return all;
}

// What is wrong with a line of the document; empty if nothing is.
std::string fault_of(const reference& of, const std::vector<mutation>& mutations) {
  if (!has_case(of.file, of.test)) return "no such test: " + of.line;
  if (of.mutations.empty()) return "no mutation: " + of.line;
  for (const std::string& name : of.mutations) {
    const auto at = std::find_if(mutations.begin(), mutations.end(),
                                 [&](const mutation& each) { return each.name == name; });
    if (at == mutations.end()) return "no such mutation: " + name;
    if (at->test != of.test || !runs(at->program, of.file)) return "of another test: " + name;
  }
  return {};
}

std::vector<mutation> listed() { return mutations_of(content(root / "tests/mutations/list.txt")); }

}  // namespace

TEST_CASE("every mutation of the list applies exactly once and has its test") {
  const auto mutations = listed();
  CHECK(mutations.size() >= 20);
  std::set<std::string> names;
  for (const mutation& each : mutations) {
    CAPTURE(each.name);
    CHECK(fault_of(each) == "");
    CHECK(names.insert(each.name).second);
  }
}

TEST_CASE("every test that the conformance document names exists and has a mutation") {
  const auto mutations = listed();
  const auto references = references_of(content(root / "docs/conformance.md"));
  CHECK(references.size() >= 40);
  std::set<std::string> named;
  for (const reference& each : references) {
    CHECK(fault_of(each, mutations) == "");
    named.insert(each.mutations.begin(), each.mutations.end());
  }
  for (const mutation& each : mutations) {
    CAPTURE(each.name);
    CHECK(named.contains(each.name));
  }
}

TEST_CASE("a mutation or a test that does not exist is found") {
  const mutation good = listed().front();
  CHECK(fault_of(good) == "");
  mutation bad = good;
  bad.before = "nowhere to be found";
  CHECK(fault_of(bad) == "does not apply exactly once");
  bad.before = "\n";
  CHECK(fault_of(bad) == "does not apply exactly once");
  bad = good;
  bad.after = bad.before;
  CHECK(fault_of(bad) == "changes nothing");
  bad = good;
  bad.test += " nowhere";
  CHECK(fault_of(bad) == "its program has no such case");

  const auto fault_in = [](const std::string& line) {
    const auto references = references_of(line + "\n");
    REQUIRE(references.size() == 1);
    return fault_of(references.front(), listed());
  };
  const std::string test = "- `" + good.program + "` \"" + good.test + "\"";
  CHECK(fault_in(test + ": `" + good.name + "`") == "");
  CHECK(fault_in(test) == "no mutation: " + test);
  CHECK(fault_in(test + ": `nowhere`") == "no such mutation: nowhere");
  CHECK(fault_in("- `unit/nowhere.cpp` \"nowhere\": `" + good.name + "`")
            .starts_with("no such test"));
  CHECK(fault_in("- `unit/index.cpp` \"positions count modulo 65536\": `" + good.name + "`") ==
        "of another test: " + good.name);
  CHECK(fault_in("- `fuzz/nowhere.cpp`: `" + good.name + "`").starts_with("no such test"));
}
