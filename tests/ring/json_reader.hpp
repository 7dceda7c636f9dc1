// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_JSON_READER_HPP
#define VKRING_TESTS_RING_JSON_READER_HPP

// Tells JSON from what is not.

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace vkring::test {

/// Whether `text` is one JSON value; of strings, only those without escapes.
class json_reader {
 public:
  static bool reads(std::string_view text) {
    json_reader reader(text);
    return reader.value(0) && reader.left_.empty();
  }

 private:
  explicit json_reader(std::string_view text) : left_(text) {}

  bool take(std::string_view what) {
    if (left_.substr(0, what.size()) != what) return false;
    left_.remove_prefix(what.size());
    return true;
  }
  bool string() {
    if (!take("\"")) return false;
    const std::size_t end = left_.find('"');
    if (end == std::string_view::npos || left_.substr(0, end).find('\\') < end) return false;
    left_.remove_prefix(end + 1);
    return true;
  }
  bool number() {
    const std::size_t digits = std::min(left_.find_first_not_of("0123456789"), left_.size());
    if (digits == 0 || (left_[0] == '0' && digits > 1)) return false;
    left_.remove_prefix(digits);
    return true;
  }
  template <class Item>
  bool list(std::string_view open, std::string_view close, Item&& item) {
    if (!take(open)) return false;
    if (take(close)) return true;
    do {
      if (!item()) return false;
    } while (take(","));
    return take(close);
  }
  bool value(int depth) {
    if (depth > 10) return false;
    return take("null") || string() || number() ||
           list("[", "]", [&] { return value(depth + 1); }) ||
           list("{", "}", [&] { return string() && take(":") && value(depth + 1); });
  }

  std::string_view left_;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_JSON_READER_HPP
