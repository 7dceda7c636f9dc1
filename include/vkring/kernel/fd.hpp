// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_FD_HPP
#define VKRING_KERNEL_FD_HPP

// A file descriptor that is closed once, by its owner.

#include <string>
#include <string_view>
#include <utility>

#include "vkring/core/error.hpp"
#include "vkring/kernel/sys.hpp"

namespace vkring::inline v0 {

/// Owns a file descriptor; -1 stands for none.
///
/// Every descriptor that vkring makes is close-on-exec, so a program that a forked child starts
/// inherits none. The destructor closes and has nowhere to report a failure: where it matters, call
/// `close` first. Allocation: none but the texts of errors. Move-only.
template <class Sys = posix>
class basic_fd {
 public:
  basic_fd() noexcept = default;
  /// Takes ownership of `descriptor`.
  explicit basic_fd(int descriptor) noexcept : fd_(descriptor) {}
  basic_fd(const basic_fd&) = delete;  // use duplicate()
  basic_fd& operator=(const basic_fd&) = delete;
  /// @{
  /// Leaves `other` without a descriptor; what this one had is closed.
  basic_fd(basic_fd&& other) noexcept : fd_(other.release()) {}
  basic_fd& operator=(basic_fd&& other) noexcept {
    if (this != &other) {
      drop();
      fd_ = other.release();
    }
    return *this;
  }
  /// @}
  ~basic_fd() { drop(); }

  /// Opens `path`. `hint` is a text, or a function from errno to a text.
  template <class Hint = std::string_view>
  static result<basic_fd> open(const std::string& path, int flags, const Hint& hint = {}) {
    return adopt(sys_result(retry_interrupted([&] { return Sys::open(path.c_str(), flags); }),
                            "open", path, hint));
  }

  /// Ownership of the descriptor that a call through `sys_result` made, or that call's error.
  static result<basic_fd> adopt(result<int> made) {
    if (!made) return fail(std::move(made.error()));
    return basic_fd(*made);
  }

  /// Another descriptor for the same open file.
  [[nodiscard]] result<basic_fd> duplicate() const {
    return adopt(sys_result(Sys::fcntl(fd_, F_DUPFD_CLOEXEC), "fcntl(F_DUPFD_CLOEXEC)", name()));
  }

  [[nodiscard]] int get() const noexcept { return fd_; }  ///< -1: none
  /// Whether there is a descriptor.
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }

  /// Gives up ownership without closing.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

  /// Closes now and says how that went; the object is empty in any case. Empty already: success.
  result<void> close() {
    if (fd_ < 0) return {};
    const std::string object = name();
    // Not retried on EINTR: see posix.
    if (auto closed = sys_result(Sys::close(release()), "close", object); !closed) {
      return fail(std::move(closed.error()));
    }
    return {};
  }

 private:
  [[nodiscard]] std::string name() const { return "fd " + std::to_string(fd_); }
  void drop() noexcept {
    if (fd_ >= 0) Sys::close(release());
  }

  int fd_ = -1;
};

using fd = basic_fd<>;

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_FD_HPP
