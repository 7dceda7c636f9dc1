// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_CORE_ERROR_HPP
#define VKRING_CORE_ERROR_HPP

// Errors of the control path as values: what was tried, on what, why it failed and what helps.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <system_error>
#include <tl/expected.hpp>
#include <type_traits>
#include <utility>

namespace vkring::inline v0 {

/// Why a set-up or control call failed.
///
/// `message()` reads `OPERATION OBJECT: REASON (HINT)`, for example
/// `TUNSETIFF tap0: Operation not permitted (needs CAP_NET_ADMIN, or a persistent TAP that you own)`.
/// Allocation: the strings; errors are made on the control path only.
struct error {
  std::error_code code;   ///< the errno of the system call, or a `std::errc` of the library
  std::string operation;  ///< the system call, ioctl or library call that failed
  std::string object;  ///< what it was applied to: an interface, a path, `key=value`; may be empty
  std::string hint;    ///< what to do about it; may be empty

  /// All of it in a line: `OPERATION OBJECT: REASON (HINT)`, without what is empty.
  [[nodiscard]] std::string message() const {
    std::string text = operation;
    if (!object.empty()) {
      text += ' ';
      text += object;
    }
    text += ": ";
    text += code.message();
    if (!hint.empty()) {
      text += " (";
      text += hint;
      text += ')';
    }
    return text;
  }
};

/// The failure side of a `result`, from an errno value.
[[nodiscard]] inline tl::unexpected<error> fail(int errno_value, std::string_view operation,
                                                std::string_view object = {},
                                                std::string_view hint = {}) {
  return tl::unexpected<error>(error{std::error_code(errno_value, std::generic_category()),
                                     std::string(operation), std::string(object),
                                     std::string(hint)});
}

/// The failure side of a `result`, for a refusal by the library itself.
[[nodiscard]] inline tl::unexpected<error> fail(std::errc reason, std::string_view operation,
                                                std::string_view object = {},
                                                std::string_view hint = {}) {
  return fail(static_cast<int>(reason), operation, object, hint);
}

/// The failure side of a `result`, handing on an error met further down.
[[nodiscard]] inline tl::unexpected<error> fail(error cause) {
  return tl::unexpected<error>(std::move(cause));
}

namespace detail {

#if defined(__cpp_exceptions)
inline constexpr bool exceptions_enabled = true;

// std::system_error composes a text of its own; this one says exactly what the error says.
class result_exception final : public std::system_error {
 public:
  explicit result_exception(const error& cause)
      : std::system_error(cause.code), text_(cause.message()) {}
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};
#else
inline constexpr bool exceptions_enabled = false;
#endif

// A template, so that translation units compiled with and without exceptions get a function each.
template <bool Exceptions>
[[noreturn]] void raise(const error& cause) {
#if defined(__cpp_exceptions)
  if constexpr (Exceptions) throw result_exception(cause);
#endif
  std::fprintf(stderr, "vkring: %s\n", cause.message().c_str());
  std::abort();
}

}  // namespace detail

/// A value, or the `error` that prevented it. All set-up functions return one and never throw.
///
/// `value()` throws a `std::system_error` whose `what()` is the full text when there is an error; where exceptions
/// are off it prints the text and aborts.
template <class T>
class [[nodiscard]] result : public tl::expected<T, error> {
  using base = tl::expected<T, error>;

 public:
  using base::base;
  /// Takes over what already is an `expected` of the same kind.
  result(base other) : base(std::move(other)) {}  // NOLINT: a result is an expected

  /// @{
  /// The value, or for `void` nothing; what becomes of an error, see above.
  template <bool Exceptions = detail::exceptions_enabled>
  auto value() & -> std::add_lvalue_reference_t<T> {
    if (!this->has_value()) detail::raise<Exceptions>(this->error());
    if constexpr (!std::is_void_v<T>) return **this;
  }
  template <bool Exceptions = detail::exceptions_enabled>
  auto value() const& -> std::add_lvalue_reference_t<const T> {
    if (!this->has_value()) detail::raise<Exceptions>(this->error());
    if constexpr (!std::is_void_v<T>) return **this;
  }
  template <bool Exceptions = detail::exceptions_enabled>
  auto value() && -> T {
    if (!this->has_value()) detail::raise<Exceptions>(this->error());
    if constexpr (!std::is_void_v<T>) return std::move(**this);
  }
  /// @}
};

}  // namespace vkring::inline v0

#endif  // VKRING_CORE_ERROR_HPP
