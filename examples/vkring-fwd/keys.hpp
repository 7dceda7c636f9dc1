// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_KEYS_HPP
#define VKRING_FWD_KEYS_HPP

// Tables of keys, each with the function that reads its value and knows what is allowed.

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>

#include "options.hpp"

namespace fwd {

// What a setter answers: empty when the value is good, else what is allowed.
using verdict = std::string;

/// One key: `set` reads its value into the options.
template <class Options>
struct key {
  std::string_view name;
  verdict (*set)(Options& into, std::string_view value);
};

template <class T>
verdict set_number(T& into, std::string_view text, std::uint64_t least, std::uint64_t most,
                   std::string_view unit = {}) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec == std::errc{} && parsed.ptr == end && value >= least && value <= most) {
    into = static_cast<T>(value);
    return {};
  }
  std::string allowed = "a number from " + std::to_string(least) + " to " + std::to_string(most);
  if (!unit.empty()) allowed.append(" ").append(unit);
  return allowed;
}

template <class T, std::size_t N>
verdict set_choice(T& into, std::string_view text,
                   const std::pair<std::string_view, T> (&choices)[N]) {
  std::string allowed = "one of";
  for (const auto& [word, value] : choices) {
    if (word == text) {
      into = value;
      return {};
    }
    allowed.append(" ").append(word);
  }
  return allowed;
}

inline verdict set_switch(std::optional<bool>& into, std::string_view text) {
  constexpr std::pair<std::string_view, bool> choices[] = {{"on", true}, {"off", false}};
  bool value = false;
  verdict answer = set_choice(value, text, choices);
  if (answer.empty()) into = value;
  return answer;
}

// CPU numbers with `separator` between them, each once.
inline verdict set_cpus(std::vector<int>& into, std::string_view text, char separator) {
  constexpr std::uint64_t last_cpu = 1023;  // what a cpu_set_t has room for
  for (bool more = true; more;) {
    const std::size_t end = text.find(separator);
    std::uint16_t cpu = 0;
    if (!set_number(cpu, text.substr(0, end), 0, last_cpu).empty() ||
        std::find(into.begin(), into.end(), cpu) != into.end()) {
      return std::string("CPU numbers from 0 to ") + std::to_string(last_cpu) +
             ", each once, with " + separator + " between them";
    }
    into.push_back(cpu);
    more = end != std::string_view::npos;
    if (more) text.remove_prefix(end + 1);
  }
  return {};
}

template <class Options, std::size_t N>
std::size_t index_of(const key<Options> (&keys)[N], std::string_view name) {
  const auto found = std::find_if(std::begin(keys), std::end(keys),
                                  [&](const key<Options>& each) { return each.name == name; });
  return static_cast<std::size_t>(found - std::begin(keys));
}

// `key=value,key=value`
template <class Options, std::size_t N>
vkring::result<Options> parse_keys(std::string_view text, const key<Options> (&keys)[N]) {
  Options parsed;
  std::array<bool, N> seen{};
  for (bool more = !text.empty(); more;) {
    const std::size_t end = text.find(',');
    const std::string_view item = text.substr(0, end);
    more = end != std::string_view::npos;
    if (more) text.remove_prefix(end + 1);

    if (item.empty()) return usage_error("--port", "nothing before or after a comma");
    const std::size_t equals = item.find('=');
    const std::string_view name = item.substr(0, equals);
    const std::size_t index = index_of(keys, name);
    if (index == N) {
      std::string known = "unknown key; known are";
      for (const key<Options>& each : keys) known.append(" ").append(each.name);
      return usage_error(item, known);
    }
    if (std::exchange(seen[index], true)) return usage_error(item, "a key may be given once");
    if (equals == std::string_view::npos || equals + 1 == item.size()) {
      return usage_error(item, "needs a value");
    }
    const verdict allowed = keys[index].set(parsed, item.substr(equals + 1));
    if (!allowed.empty()) return usage_error(item, allowed);
  }
  return parsed;
}

}  // namespace fwd

#endif  // VKRING_FWD_KEYS_HPP
