// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_CORE_SET_ONCE_HPP
#define VKRING_CORE_SET_ONCE_HPP

// A value that one thread writes once, if ever, and any thread reads.

#include <atomic>
#include <type_traits>

namespace vkring::inline v0 {

/// What became of something, once it is known: `T{}` until then.
///
/// Thread-safety: one thread calls `set`; the others see nothing or the whole value. A copy is a
/// snapshot.
template <class T>
class set_once {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  set_once() noexcept = default;
  /// @{
  /// Takes over what the other has by now, set or not.
  set_once(const set_once& other) noexcept { *this = other; }
  set_once& operator=(const set_once& other) noexcept {
    const bool known = other.set_.load(std::memory_order_acquire);
    if (known) value_ = other.value_;
    set_.store(known, std::memory_order_release);
    return *this;
  }
  /// @}

  /// The first value stays. True: this is it.
  bool set(const T& value) noexcept {
    if (is_set()) return false;
    value_ = value;
    set_.store(true, std::memory_order_release);
    return true;
  }
  /// For the thread that sets it: spares the others' ordering.
  [[nodiscard]] bool is_set() const noexcept { return set_.load(std::memory_order_relaxed); }
  /// The value, or `T{}` while there is none.
  [[nodiscard]] T get() const noexcept {
    return set_.load(std::memory_order_acquire) ? value_ : T{};
  }

  /// Calls `visit` with whether it is set, and takes over what `visit` makes of that.
  template <class Self, class Visit>
  static void visit_state(Self& self, Visit&& visit) {
    bool set = self.is_set();
    visit(set);
    if constexpr (!std::is_const_v<Self>) self.set_.store(set, std::memory_order_relaxed);
  }

 private:
  T value_{};
  std::atomic<bool> set_{false};
};

}  // namespace vkring::inline v0

#endif  // VKRING_CORE_SET_ONCE_HPP
