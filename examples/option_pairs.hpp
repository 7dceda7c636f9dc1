// SPDX-License-Identifier: BSD-3-Clause
#ifndef OPTION_PAIRS_HPP
#define OPTION_PAIRS_HPP

// Command lines of the form `--name value ...`.

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>
#include <vkring/core/error.hpp>

namespace option_pairs {

/// What a setter answers: empty when the value is good, else what is allowed.
using verdict = std::string;

template <class Options>
struct key {
  std::string_view name;
  verdict (*set)(Options& into, std::string_view value);
};

inline tl::unexpected<vkring::error> usage_error(std::string_view option, std::string_view value,
                                                 std::string_view allowed) {
  return vkring::fail(std::errc::invalid_argument, option, value, allowed);
}

/// Sets what each pair names, in order, up to `--help`.
/// Errors: std::errc::invalid_argument, operation and object being the option and its value.
template <class Options, std::size_t N>
vkring::result<Options> read(const key<Options> (&keys)[N],
                             const std::vector<std::string_view>& arguments) {
  Options parsed;
  for (std::size_t i = 0; i < arguments.size(); i += 2) {
    const std::string_view name = arguments[i];
    if (name == "--help") {
      parsed.help = true;
      return parsed;
    }
    const auto* const found = std::find_if(std::begin(keys), std::end(keys),
                                           [&](const auto& each) { return each.name == name; });
    if (found == std::end(keys)) return usage_error(name, "", "not known: see --help");
    if (i + 1 == arguments.size()) return usage_error(name, "", "needs a value");
    const std::string_view value = arguments[i + 1];
    const verdict allowed = found->set(parsed, value);
    if (!allowed.empty()) return usage_error(name, value, allowed);
  }
  return parsed;
}

/// Says what is wrong; returns the exit status for that.
inline int complain(const vkring::error& wrong) {
  std::fprintf(stderr, "%s%s%s: %s\n", wrong.operation.c_str(), wrong.object.empty() ? "" : " ",
               wrong.object.c_str(), wrong.hint.c_str());
  return 2;
}

}  // namespace option_pairs

#endif  // OPTION_PAIRS_HPP
