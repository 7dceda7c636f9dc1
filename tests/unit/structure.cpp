// SPDX-License-Identifier: BSD-3-Clause

// The rules about the headers that no compiler checks: which tier may include which, what stays out
// of all of them, and where ordered accesses live. Each rule is shown to catch a planted breach.

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;
using names = std::set<std::string>;

// A tier is a folder, or a header that is a tier of its own. Each may include itself and version.
const names all_tiers = {"core",   "net",       "ring",     "kernel",   "memory",
                         "queue",  "worker",    "device",   "io_uring", "fmt",
                         "vkring", "dpdk",      "dpdk/pmd", "version"};

names joined(names set, const names& more) {
  set.insert(more.begin(), more.end());
  return set;
}

const names library = {"core", "net", "ring", "kernel", "memory", "queue", "worker"};
const names folders = joined(library, {"dpdk"});

const std::map<std::string, names> may_include = {
    {"version", {}},
    {"core", {}},
    {"net", {"core"}},
    {"ring", {"core"}},
    {"kernel", {"core", "net"}},
    {"memory", {"core", "net", "kernel"}},
    {"queue", {"core", "ring", "net", "memory"}},
    {"worker", {"core", "ring", "net", "memory", "queue", "kernel"}},
    {"dpdk", {"core", "ring", "net", "memory", "queue"}},
    {"device", library},
    {"io_uring", library},
    {"fmt", library},
    {"dpdk/pmd", joined(library, {"device", "dpdk"})},
    {"vkring", joined(library, {"device"})},
};

// `path` is relative to include/vkring. Empty: in no tier.
std::string tier_of(const std::string& path) {
  const auto end = path.rfind(".hpp");
  if (end == std::string::npos) return "";
  const std::string whole = path.substr(0, end);
  if (all_tiers.contains(whole) && !folders.contains(whole)) return whole;
  // The parts of a header that is a tier are in a folder of its name.
  const std::string parent = path.substr(0, std::min(path.rfind('/'), path.size()));
  if (all_tiers.contains(parent) && parent.find('/') != std::string::npos) return parent;
  const std::string folder = path.substr(0, path.find('/'));
  return folder != path && folders.contains(folder) ? folder : "";
}

// The text with comments and the contents of literals blanked out; lines keep their numbers.
// `keep_strings` leaves string literals, which is what an #include of a project header ends in.
std::string code_of(const std::string& text, bool keep_strings) {
  std::string code;
  enum { plain, line_comment, block_comment, string, character } state = plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    switch (state) {
      case plain: {
        const bool separator = i > 0 && std::isalnum(static_cast<unsigned char>(text[i - 1])) != 0;
        if (c == '/' && next == '/') state = line_comment;
        if (c == '/' && next == '*') state = block_comment;
        if (c == '"') state = string;
        if (c == '\'' && !separator) state = character;
        if (state == block_comment) ++i;  // the star must not close what it opened
        code += state == plain || state == string ? c : ' ';
        break;
      }
      case line_comment:
        if (c == '\n') {
          state = plain;
          code += c;
        }
        break;
      case block_comment:
        if (c == '\n') code += c;
        if (c == '*' && next == '/') {
          state = plain;
          ++i;
        }
        break;
      case string:
      case character: {
        const char quote = state == string ? '"' : '\'';
        if (keep_strings && state == string) code += c;
        if (c == '\\') ++i;
        if (c == quote) {
          if (!keep_strings && state == string) code += c;
          state = plain;
        }
        break;
      }
    }
  }
  return code;
}

// What the line includes, or nothing.
std::string included_by(const std::string& line) {
  const auto hash = line.find_first_not_of(" \t");
  if (hash == std::string::npos || line[hash] != '#') return "";
  const auto word = line.find_first_not_of(" \t", hash + 1);
  if (word == std::string::npos || line.compare(word, 7, "include") != 0) return "";
  const auto open = line.find_first_of("<\"", word);
  if (open == std::string::npos) return "";
  const auto close = line.find_first_of(">\"", open + 1);
  return close == std::string::npos ? "" : line.substr(open + 1, close - open - 1);
}

// All identifiers and keywords of the code.
names words_of(const std::string& code) {
  names words;
  std::string word;
  for (const char c : code + ' ') {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_') {
      word += c;
    } else if (!word.empty()) {
      words.insert(std::exchange(word, {}));
    }
  }
  return words;
}

// Standard headers that cost every consumer compile time, or belong to another style of interface.
const names unwanted = {"ranges", "regex", "iostream", "functional", "filesystem"};

bool is_kernel_header(const std::string& name) {
  return name.starts_with("linux/") || name.starts_with("net/if");
}

// Words that order accesses to shared memory, or pretend to.
bool orders_accesses(const std::string& word) {
  return word.find("atomic") != std::string::npos || word.find("fence") != std::string::npos ||
         word.starts_with("__sync") || word == "volatile" || word == "asm" || word == "__asm" ||
         word == "__asm__";
}

struct report {
  std::vector<std::string> breaches;  // "FILE: what is wrong"
  std::size_t headers = 0;
  std::map<std::string, names> includes;  // project headers by the header that includes them
};

void check_header(const std::string& path, const std::string& text, report& into) {
  const auto breach = [&](const std::string& what) { into.breaches.push_back(path + ": " + what); };
  ++into.headers;
  const std::string tier = tier_of(path);
  if (tier.empty()) return breach("in no tier");

  std::istringstream lines(code_of(text, true));
  auto& project_includes = into.includes[path];
  for (std::string line; std::getline(lines, line);) {
    const std::string name = included_by(line);
    if (name.empty()) continue;
    if (name.starts_with("vkring/")) {
      const std::string other = name.substr(7);
      const std::string other_tier = tier_of(other);
      project_includes.insert(other);
      if (other_tier.empty()) {
        breach("includes " + name + ", which is in no tier");
      } else if (other_tier != tier && other_tier != "version" &&
                 !may_include.at(tier).contains(other_tier)) {
        breach(tier + " includes " + other_tier);
      }
    } else if (line.find('"') != std::string::npos) {
      breach("includes \"" + name + "\" without vkring/");
    } else if (unwanted.contains(name)) {
      breach("includes <" + name + ">");
    } else if (is_kernel_header(name) && tier != "io_uring" && !tier.starts_with("dpdk")) {
      breach("includes <" + name + ">");
    }
  }

  const names words = words_of(code_of(text, false));
  if ((tier == "ring" || tier == "queue") && path != "ring/shared.hpp") {
    for (const auto& word : words) {
      if (orders_accesses(word)) breach("has `" + word + "`");
    }
  }
  // Two translation units of one program may differ in it.
  for (const auto& word : {"NDEBUG", "assert"}) {
    if (words.contains(word)) breach(std::string("has `") + word + "`");
  }
}

// Checks all headers under `root`, a folder like include/vkring.
report check_tree(const fs::path& root) {
  report found;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path());
    const std::string text(std::istreambuf_iterator<char>(file), {});
    check_header(fs::relative(entry.path(), root).generic_string(), text, found);
  }
  std::sort(found.breaches.begin(), found.breaches.end());
  return found;
}

// The breaches in a tree of one header.
std::vector<std::string> breaches_of(const std::string& path, const std::string& text) {
  const fs::path root =
      fs::temp_directory_path() / ("vkring-structure-" + std::to_string(::getpid()));
  fs::create_directories((root / path).parent_path());
  std::ofstream(root / path) << text;
  const auto found = check_tree(root);
  fs::remove_all(root);
  CHECK(found.headers == 1);
  return found.breaches;
}

using breaches = std::vector<std::string>;

}  // namespace

TEST_CASE("the headers keep the rules") {
  const auto found = check_tree(VKRING_SOURCE_DIR "/include/vkring");
  CHECK(found.headers > 5);
  for (const auto& breach : found.breaches) FAIL_CHECK(breach);
}

TEST_CASE("the umbrella leads to every header but the optional ones") {
  const auto found = check_tree(VKRING_SOURCE_DIR "/include/vkring");
  names reached;
  std::vector<std::string> open = {"vkring.hpp"};
  while (!open.empty()) {
    const std::string path = std::exchange(open.back(), {});
    open.pop_back();
    if (!reached.insert(path).second || !found.includes.contains(path)) continue;
    const auto& next = found.includes.at(path);
    open.insert(open.end(), next.begin(), next.end());
  }
  names missing;
  names too_many;
  for (const auto& [path, unused] : found.includes) {
    const bool optional = path == "io_uring.hpp" || path == "fmt.hpp" || path.starts_with("dpdk/");
    if (reached.contains(path) == optional) (optional ? too_many : missing).insert(path);
  }
  CHECK(missing == names{});
  CHECK(too_many == names{});
}

TEST_CASE("a header may include its own tier, the tiers below it and the version") {
  CHECK(breaches_of("queue/x.hpp",
                    "#include <cstdint>\n"
                    "#include <vkring/queue/y.hpp>\n"
                    "#include \"vkring/ring/split.hpp\"\n"
                    "# include <vkring/version.hpp>\n"
                    "#include <linux_of_mine.h>\n")
            .empty());
  CHECK(breaches_of("io_uring.hpp", "#include <linux/io_uring.h>\n").empty());
  CHECK(breaches_of("dpdk/pmd.hpp", "#include <vkring/device.hpp>\n").empty());
  CHECK(breaches_of("dpdk/pmd/port.hpp", "#include <vkring/device.hpp>\n").empty());
}

TEST_CASE("a tier breach is found") {
  CHECK(breaches_of("ring/x.hpp", "#include <vkring/net/features.hpp>\n") ==
        breaches{"ring/x.hpp: ring includes net"});
  CHECK(breaches_of("core/x.hpp", "  #  include \"vkring/ring/split.hpp\"  // why\n") ==
        breaches{"core/x.hpp: core includes ring"});
  CHECK(breaches_of("queue/x.hpp", "#include <vkring/kernel/fd.hpp>\n") ==
        breaches{"queue/x.hpp: queue includes kernel"});
  CHECK(breaches_of("fmt.hpp", "#include <vkring/device.hpp>\n") ==
        breaches{"fmt.hpp: fmt includes device"});
  CHECK(breaches_of("vkring.hpp", "#include <vkring/io_uring.hpp>\n") ==
        breaches{"vkring.hpp: vkring includes io_uring"});
}

TEST_CASE("a header outside the tiers is found") {
  CHECK(breaches_of("misc/x.hpp", "") == breaches{"misc/x.hpp: in no tier"});
  CHECK(breaches_of("extra.hpp", "") == breaches{"extra.hpp: in no tier"});
  CHECK(breaches_of("core/x.h", "") == breaches{"core/x.h: in no tier"});
  CHECK(breaches_of("core/x.hpp", "#include <vkring/misc/x.hpp>\n") ==
        breaches{"core/x.hpp: includes vkring/misc/x.hpp, which is in no tier"});
  CHECK(breaches_of("core/x.hpp", "#include \"error.hpp\"\n") ==
        breaches{"core/x.hpp: includes \"error.hpp\" without vkring/"});
}

TEST_CASE("an include that headers must not have is found") {
  for (const std::string name : {"linux/if_tun.h", "net/if.h", "net/if_arp.h", "ranges", "regex",
                                 "iostream", "functional", "filesystem"}) {
    CHECK(breaches_of("kernel/x.hpp", "#include <" + name + ">\n") ==
          breaches{"kernel/x.hpp: includes <" + name + ">"});
  }
  CHECK(breaches_of("dpdk/mbuf.hpp", "#include <functional>\n") ==
        breaches{"dpdk/mbuf.hpp: includes <functional>"});
}

TEST_CASE("an ordered access outside ring/shared.hpp is found") {
  for (const std::string word :
       {"atomic_ref", "atomic_thread_fence", "__atomic_load_n", "__sync_synchronize", "volatile",
        "asm", "__asm__", "_mm_mfence"}) {
    CHECK(breaches_of("ring/x.hpp", "void f() { " + word + "(x); }\n") ==
          breaches{"ring/x.hpp: has `" + word + "`"});
    CHECK(breaches_of("queue/x.hpp", "/* fine */ " + word + "\n") ==
          breaches{"queue/x.hpp: has `" + word + "`"});
    CHECK(breaches_of("ring/shared.hpp", word).empty());
    CHECK(breaches_of("core/counter.hpp", word).empty());
  }
  CHECK(breaches_of("ring/x.hpp", "#include <atomic>\n") == breaches{"ring/x.hpp: has `atomic`"});
}

TEST_CASE("comments and literals are not code") {
  CHECK(breaches_of("ring/x.hpp",
                    "// an atomic, a fence\n"
                    "/* volatile\n #include <linux/if.h>\n */\n"
                    "const char* text = \"asm // \\\" volatile\";\n"
                    "int many = 1'000; char quote = '\"'; char slash = '/';\n")
            .empty());
  CHECK(breaches_of("ring/x.hpp", "const char* text = \"/*\"; volatile int x; // */\n") ==
        breaches{"ring/x.hpp: has `volatile`"});
  CHECK(breaches_of("ring/x.hpp", "int many = 1'000; volatile int x = 2'000;\n") ==
        breaches{"ring/x.hpp: has `volatile`"});
  CHECK(breaches_of("ring/x.hpp", "/*/ still a comment */ volatile int x;\n") ==
        breaches{"ring/x.hpp: has `volatile`"});
}

TEST_CASE("code that depends on the build type is found") {
  CHECK(breaches_of("core/x.hpp", "#ifndef NDEBUG\n#endif\n") ==
        breaches{"core/x.hpp: has `NDEBUG`"});
  CHECK(breaches_of("core/x.hpp", "void f(int x) { assert(x); }\n") ==
        breaches{"core/x.hpp: has `assert`"});
  CHECK(breaches_of("core/x.hpp", "static_assert(sizeof(int) == 4);\n").empty());
}
