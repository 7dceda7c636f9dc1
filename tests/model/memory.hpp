// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_MODEL_MEMORY_HPP
#define VKRING_TESTS_MODEL_MEMORY_HPP

// Shared memory between two sides as the model checker runs it: store buffers per word.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace vkring::test::model {

enum class side : std::uint8_t { driver, device };

constexpr side other(side one) noexcept {
  return one == side::driver ? side::device : side::driver;
}
constexpr std::size_t index(side one) noexcept { return static_cast<std::size_t>(one); }

/// What the memory of the model may do.
enum class strength : std::uint8_t {
  /// Partial store order: each side has a first-in-first-out store buffer for each word, so stores
  /// to different words become visible in any order. A release store waits for all earlier ones, a
  /// fence for an empty buffer. Loads happen in program order and see what is visible to all.
  store_buffers,
  /// C++ atomics, but for loads that wait for later stores: also loads are early. Only an acquire
  /// load that sees a release store sees all that came before it, and a fence shows its stores only
  /// to a side that passes a fence afterwards.
  cpp,
};

/// A vector in place: states are copied by the million.
template <class T, std::size_t Capacity>
class inline_vector {
 public:
  inline_vector() noexcept = default;
  inline_vector(const inline_vector& from) noexcept : size_(from.size_) {
    std::copy_n(from.begin(), size_, begin());
  }
  inline_vector& operator=(const inline_vector& from) noexcept {
    size_ = from.size_;
    std::copy_n(from.begin(), size_, begin());
    return *this;
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] const T* begin() const noexcept { return items_.data(); }
  [[nodiscard]] const T* end() const noexcept { return items_.data() + size_; }
  [[nodiscard]] T* begin() noexcept { return items_.data(); }
  [[nodiscard]] T* end() noexcept { return items_.data() + size_; }
  [[nodiscard]] const T& operator[](std::size_t i) const noexcept { return items_[i]; }
  [[nodiscard]] T& operator[](std::size_t i) noexcept { return items_[i]; }
  void push(const T& item) noexcept {
    if (size_ == Capacity) std::abort();  // a scenario too large for the model
    items_[size_++] = item;
  }
  void shrink(std::size_t size) noexcept { size_ = static_cast<std::uint32_t>(size); }
  void clear() noexcept { size_ = 0; }

 private:
  std::array<T, Capacity> items_;
  std::uint32_t size_ = 0;
};

/// The shared words. A word may be written by both sides, as those of a packed ring's descriptors are,
/// but only in turn: each store comes after the writer has seen all of the other side's to that word.
///
/// A store goes to the end of its side's list of pending stores. Nothing takes it out of there
/// until the other side looks: a load may return what the reader saw last or any pending store to
/// the word, and which one is a choice that the explorer makes. What has to be visible with the
/// chosen store is then made visible too. Flushing that late is exact: only a load or a fence can
/// tell when a store left its buffer, so any earlier moment gives the same run.
class memory {
 public:
  static constexpr std::size_t max_words = 64;
  static constexpr std::size_t max_pending = 96;

  memory(strength model, std::size_t words) noexcept : model_(model) {
    while (seen_.size() < words) seen_.push(0);
  }

  /// The value of a word before the sides run.
  void preset(std::size_t word, std::uint64_t value) noexcept { seen_[word] = value; }

  void store(side writer, std::size_t word, std::uint64_t value, bool release) noexcept {
    buffer& own = buffers_[index(writer)];
    own.pending.push({value, static_cast<std::uint8_t>(word),
                      release ? static_cast<std::uint8_t>(own.pending.size()) : own.released});
  }

  /// Whether the other side has stored to `word` what `writer` has not seen.
  [[nodiscard]] bool contested(side writer, std::size_t word) const noexcept {
    const auto& pending = buffers_[index(other(writer))].pending;
    return std::any_of(pending.begin(), pending.end(),
                       [word](const pending_store& each) { return each.word == word; });
  }

  /// How many values a load of `word` may return now.
  [[nodiscard]] std::size_t choices(side reader, std::size_t word) const noexcept {
    std::size_t count = 1;
    for (const pending_store& each : buffers_[index(other(reader))].pending) {
      count += each.word == word;
    }
    return count;
  }

  /// Choice 0 is the value seen last (or the own store seen last), k the k-th pending store.
  std::uint64_t load(side reader, std::size_t word, bool acquire, std::size_t choice) noexcept {
    if (choice == 0) {
      std::uint64_t value = seen_[word];
      for (const pending_store& each : buffers_[index(reader)].pending) {
        if (each.word == word) value = each.value;
      }
      return value;
    }
    buffer& from = buffers_[index(other(reader))];
    std::size_t at = 0;
    std::uint8_t carried = 0;
    for (std::size_t left = choice;; ++at) {
      if (from.pending[at].word != word) continue;
      // Per word stores leave in order, so under partial store order this one drags along whatever
      // its predecessors wait for.
      const std::uint8_t waits_for = from.pending[at].carries;
      if (model_ == strength::cpp || waits_for > carried) carried = waits_for;
      if (--left == 0) break;
    }
    const std::uint64_t value = from.pending[at].value;
    if (!acquire && model_ == strength::cpp) {
      if (carried > from.seen_unordered) from.seen_unordered = carried;
      carried = 0;
    }
    reveal(from, carried, word, at + 1);
    return value;
  }

  /// Orders everything before it before everything after it, a store before a load included.
  void full_fence(side one) noexcept {
    buffer& own = buffers_[index(one)];
    if (model_ == strength::store_buffers) {
      reveal(own, own.pending.size());
      return;
    }
    light_fence(one);
    reveal(buffers_[index(other(one))], buffers_[index(other(one))].fenced);
    own.fenced = static_cast<std::uint8_t>(own.pending.size());
  }

  /// Acquire and release, which is all that a full fence does but for a store before a load.
  void light_fence(side one) noexcept {
    reveal(buffers_[index(other(one))], buffers_[index(other(one))].seen_unordered);
    buffers_[index(one)].released = static_cast<std::uint8_t>(buffers_[index(one)].pending.size());
  }

  /// Makes all stores of one side visible: for notifications that order what comes before them.
  void flush(side one) noexcept {
    reveal(buffers_[index(one)], buffers_[index(one)].pending.size());
  }

  /// The value that `word` will have once everything is visible.
  [[nodiscard]] std::uint64_t newest(std::size_t word) const noexcept {
    std::uint64_t value = seen_[word];
    for (const buffer& each : buffers_) {
      for (const pending_store& store : each.pending) {
        if (store.word == word) value = store.value;
      }
    }
    return value;
  }

  template <class Visit>
  void visit(Visit&& visit) const noexcept {
    for (const std::uint64_t value : seen_) visit(value);
    for (const buffer& each : buffers_) {
      visit(each.pending.size() | std::uint64_t{each.released} << 8 |
            std::uint64_t{each.fenced} << 16 | std::uint64_t{each.seen_unordered} << 24);
      for (const pending_store& store : each.pending) {
        visit(store.value);
        visit(std::uint64_t{store.word} | std::uint64_t{store.carries} << 8);
      }
    }
  }

 private:
  struct pending_store {
    std::uint64_t value;
    std::uint8_t word;
    std::uint8_t carries;  // so many of the oldest pending stores become visible before this one
  };
  // What one side stored and the other side has not seen. The numbers count from the oldest store.
  struct buffer {
    inline_vector<pending_store, max_pending> pending;
    std::uint8_t released = 0;        // what later plain stores carry: older than a light fence
    std::uint8_t fenced = 0;          // older than the writer's last full fence (cpp only)
    std::uint8_t seen_unordered = 0;  // the reader's next fence makes these visible (cpp only)
  };

  // Makes the `count` oldest stores visible, and those to `word` among the `word_end` oldest.
  void reveal(buffer& from, std::size_t count, std::size_t word = max_words,
              std::size_t word_end = 0) noexcept {
    std::array<std::uint8_t, max_pending + 1> gone;  // of the i oldest
    std::size_t kept = 0;
    const std::size_t size = from.pending.size();
    for (std::size_t i = 0; i < size; ++i) {
      gone[i] = static_cast<std::uint8_t>(i - kept);
      const pending_store each = from.pending[i];
      if (i < count || (i < word_end && each.word == word)) {
        seen_[each.word] = each.value;
      } else {
        from.pending[kept++] = each;
      }
    }
    gone[size] = static_cast<std::uint8_t>(size - kept);
    from.pending.shrink(kept);
    const auto recount = [&gone](std::uint8_t& n) { n = static_cast<std::uint8_t>(n - gone[n]); };
    for (pending_store& each : from.pending) recount(each.carries);
    recount(from.released), recount(from.fenced), recount(from.seen_unordered);
  }

  inline_vector<std::uint64_t, max_words> seen_;
  std::array<buffer, 2> buffers_;
  strength model_;
};

}  // namespace vkring::test::model

#endif  // VKRING_TESTS_MODEL_MEMORY_HPP
