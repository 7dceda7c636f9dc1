// SPDX-License-Identifier: BSD-3-Clause
#ifndef ARGUMENTS_HPP
#define ARGUMENTS_HPP

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <system_error>

// The number that is the nth argument of a program, `otherwise` without one. Ends the program with status 2 if it
// is none.
inline long number_of(int argc, char** argv, int nth, long otherwise) {
  if (argc <= nth) return otherwise;
  const std::string_view text = argv[nth];
  long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size() && number >= 0) return number;
  std::fprintf(stderr, "%s: \"%s\": a number from 0 on\n", argv[0], argv[nth]);
  std::exit(2);
}

#endif  // ARGUMENTS_HPP
