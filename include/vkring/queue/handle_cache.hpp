// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_HANDLE_CACHE_HPP
#define VKRING_QUEUE_HANDLE_CACHE_HPP

// A queue's private stock of free buffers.

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>
#include <vkring/memory/buffer_source.hpp>

namespace vkring::inline v0 {

/// A stack of free handles that belongs to one queue. It exchanges whole bursts with the source, so
/// that the source's lock is rare, and absent where one thread takes and returns. Without
/// `KeepsPlain` it forgets at the source which headers are known to be zero, for a queue whose device
/// writes them, and takes no handles back that know it.
///
/// Thread-safety: the queue's thread only. Allocation: in the constructor only.
template <buffer_source Source, bool KeepsPlain = true>
class handle_cache {
 public:
  using handle = typename Source::handle;  ///< of a buffer

  /// Takes `burst` handles at a time, and has room for `most` to come back at once. Keeps no more
  /// than `burst` and half of `most`: what one queue hoards, another one lacks.
  handle_cache(Source& source, std::size_t burst, std::size_t most)
      : source_(&source),
        handles_(2 * burst + 2 * most),
        burst_(burst),
        most_(most),
        keep_(burst + most / 2) {}
  /// Leaves `other` without handles.
  handle_cache(handle_cache&& other) noexcept
      : source_(other.source_),
        handles_(std::move(other.handles_)),
        count_(std::exchange(other.count_, 0)),
        burst_(other.burst_),
        most_(other.most_),
        keep_(other.keep_) {}
  handle_cache& operator=(handle_cache&&) = delete;
  ~handle_cache() { flush(); }

  /// The handles to take next, `wanted` of them (at most one burst) or as many as the source has.
  /// The caller takes all that it wants from the end and says how many with `drop`.
  [[nodiscard, gnu::always_inline]] std::span<const handle> stock(std::size_t wanted) noexcept {
    if (count_ < wanted) [[unlikely]]
      wanted = restock(wanted);
    return {handles_.data() + count_ - wanted, wanted};
  }
  /// The last `n` handles of `stock` were taken.
  void drop(std::size_t n) noexcept { count_ -= n; }
  /// How many handles it has without asking the source.
  [[nodiscard]] std::size_t size() const noexcept { return count_; }

  /// Room for as many handles as can come back at once: the caller writes them and says how many
  /// with `add`.
  [[nodiscard]] handle* space() noexcept { return handles_.data() + count_; }
  /// `n` handles were written to `space`.
  void add(std::size_t n) noexcept {
    count_ += n;
    if (count_ > keep_) [[unlikely]]
      return_surplus();
  }

  /// Returns one handle.
  void put(handle h) noexcept {
    *space() = h;
    add(1);
  }

  /// Returns everything to the source.
  void flush() noexcept {
    if (count_ != 0) source_->put({handles_.data(), count_});
    count_ = 0;
  }

  /// The most handles that `stock` can be asked for.
  [[nodiscard]] std::size_t burst() const noexcept { return burst_; }
  /// The most handles that can be added after one `space`.
  [[nodiscard]] std::size_t most() const noexcept { return most_; }
  /// Where they come from and go back to.
  [[nodiscard]] Source& source() const noexcept { return *source_; }

 private:
  [[gnu::noinline]] std::size_t restock(std::size_t wanted) noexcept {
    const std::span fresh(handles_.data() + count_, burst_);
    const std::size_t n = source_->take(fresh);
    if constexpr (!KeepsPlain) {
      for (handle& h : fresh.first(n)) h = Source::with_plain_header(h, false);
    }
    count_ += n;
    return std::min(wanted, count_);
  }

  // The oldest go: what was used last is still in this core's cache. Half a burst more than needed, so
  // that one more handle does not bring the next call.
  [[gnu::noinline]] void return_surplus() noexcept {
    const std::size_t surplus = count_ - keep_ + burst_ / 2;
    source_->put({handles_.data(), surplus});
    std::copy_n(handles_.data() + surplus, count_ - surplus, handles_.data());
    count_ -= surplus;
  }

  Source* source_;
  std::vector<handle> handles_;
  std::size_t count_ = 0;
  std::size_t burst_;
  std::size_t most_;
  std::size_t keep_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_HANDLE_CACHE_HPP
