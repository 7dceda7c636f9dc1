// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_MEMORY_FRAME_HPP
#define VKRING_MEMORY_FRAME_HPP

// A frame: a lease on the buffers that hold it.

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vkring/memory/buffer_pool.hpp>
#include <vkring/memory/buffer_source.hpp>
#include <vkring/net/header.hpp>

namespace vkring::inline v0 {

namespace detail {
template <class Source>
struct frame_access;
}

/// An Ethernet frame (or, on a TUN device, a packet) in one or more buffers of a source, with its
/// offload header. Move-only: whoever holds it owns the buffers, and the destructor gives them back.
///
/// A frame may outlive the queue that it came from, never its source. An empty frame owns nothing.
/// Thread-safety: none of its own; it may be handed to another thread. Allocation: none.
template <buffer_source Source>
class basic_frame {
 public:
  using handle = typename Source::handle;  ///< of one buffer

  /// An empty frame.
  basic_frame() noexcept = default;
  /// The frame of no bytes in the buffer `owned`, which it gives back to `source` in the end.
  basic_frame(Source& source, handle owned) noexcept
      : source_(&source),
        handle_(Source::with_plain_header(owned, false)),
        extent_(one_buffer | (Source::plain_header(owned) ? plain_header : 0)) {}

  /// @{
  /// Leaves `other` empty; what this frame had goes back to its source.
  basic_frame(basic_frame&& other) noexcept
      : source_(std::exchange(other.source_, nullptr)),
        handle_(other.handle_),
        header_(other.header_),
        extent_(other.extent_) {}
  basic_frame& operator=(basic_frame&& other) noexcept {
    if (this != &other) {
      reset();
      source_ = std::exchange(other.source_, nullptr);
      handle_ = other.handle_;
      header_ = other.header_;
      extent_ = other.extent_;
    }
    return *this;
  }
  /// @}
  ~basic_frame() { reset(); }

  /// Whether it owns a buffer.
  explicit operator bool() const noexcept { return source_ != nullptr; }
  /// The source of its buffers; null when empty.
  [[nodiscard]] Source* source() const noexcept { return source_; }

  /// Payload bytes in all buffers, the virtio-net header not counted.
  [[nodiscard]] std::uint32_t size() const noexcept {
    return source_ == nullptr ? 0 : static_cast<std::uint32_t>(extent_);
  }
  /// How many buffers it lies in.
  [[nodiscard]] std::uint32_t buffers() const noexcept {
    return source_ == nullptr ? 0 : static_cast<std::uint32_t>((extent_ & ~flags) >> 32);
  }
  /// The payload where it lies in one buffer; nothing where it lies in several.
  [[nodiscard]] std::span<std::byte> contiguous() const noexcept {
    if (buffers() != 1) return {};
    return {source_->mapper()(handle_).payload, size()};
  }
  /// What the first buffer could hold from the payload on; `resize` goes no further.
  [[nodiscard]] std::uint32_t capacity() const noexcept {
    return source_ == nullptr ? 0 : source_->mapper()(handle_).capacity;
  }

  /// Calls `visit(bytes)` for each buffer's part of the payload, in order.
  template <class Visit>
  void for_each_segment(Visit&& visit) const {
    if (buffers() == 1) visit(contiguous());
    if (buffers() <= 1) return;
    handle at = handle_;
    for (std::uint32_t left = buffers(); left != 0; --left) {
      const buffer_link<handle>& part = source_->link(at);
      visit(std::span<std::byte>(source_->mapper()(at).payload + part.offset, part.size));
      at = part.next;
    }
  }

  /// Fills `out` with the segments, at most as many as fit; returns how many there are.
  std::size_t segments(std::span<std::span<std::byte>> out) const {
    std::size_t n = 0;
    for_each_segment([&](std::span<std::byte> segment) {
      if (n < out.size()) out[n] = segment;
      ++n;
    });
    return n;
  }

  /// The offload header: copied out and checked once when the frame was received, but for
  /// `num_buffers`, which is 0: see `buffers`. What `set_header` said otherwise.
  [[nodiscard]] virtio_net_hdr header() const noexcept {
    return (extent_ & offload) != 0 ? header_ : virtio_net_hdr{};
  }
  /// What to send the frame with. Checked by `send`.
  void set_header(const virtio_net_hdr& header) noexcept {
    header_ = header;
    extent_ = header.is_plain() ? extent_ & ~offload : extent_ | offload;
  }

  /// Sets the number of payload bytes of a frame in one buffer. False, and nothing is changed: it
  /// has several buffers, or `size` is beyond `capacity()`.
  bool resize(std::uint32_t size) noexcept {
    if (buffers() != 1 || size > capacity()) return false;
    extent_ = (extent_ & flags) | one_buffer | size;
    return true;
  }

  /// Puts the payload of `tail` behind this one's, without a copy. False, and nothing is changed:
  /// one of the two is empty, they are the same, their buffers come from different sources, or
  /// together they have 4 GiB.
  bool append(basic_frame&& tail) noexcept {
    if (source_ == nullptr || tail.source_ != source_ || &tail == this) return false;
    if (tail.size() > UINT32_MAX - size()) return false;
    link_first();
    tail.link_first();
    handle last = handle_;
    for (std::uint32_t left = buffers(); left != 1; --left) last = source_->link(last).next;
    source_->link(last).next = tail.handle_;
    extent_ += tail.extent_ & ~flags;  // bytes and buffers, each in its half
    tail.source_ = nullptr;
    return true;
  }

  /// Gives the buffers back now.
  void reset() noexcept {
    if (source_ != nullptr) give_back();
  }

 private:
  friend struct detail::frame_access<Source>;
  // extent_: bytes in the low half, buffers above them, and on top two flags: the header in memory,
  // in front of the first buffer, is known to be zero; the header to send is not. One comparison
  // then asks for all that a frame has to be to be sent in the simplest way.
  static constexpr std::uint64_t one_buffer = std::uint64_t{1} << 32;
  static constexpr std::uint64_t plain_header = std::uint64_t{1} << 63;
  static constexpr std::uint64_t offload = std::uint64_t{1} << 62;
  static constexpr std::uint64_t flags = plain_header | offload;

  // Not inlined, as most frames that end have been sent or recycled and own nothing any more.
  [[gnu::noinline]] void give_back() noexcept {
    handle at = handle_;
    for (std::uint32_t left = buffers(); left != 0; --left) {
      // Read before the buffer is given back: somebody else may take it at once.
      const handle next = left == 1 ? at : source_->link(at).next;
      const bool plain = left == buffers() && (extent_ & plain_header) != 0;
      const handle back = Source::with_plain_header(at, plain);
      source_->put({&back, 1});
      at = next;
    }
    source_ = nullptr;
  }

  // A frame in one buffer keeps its account in extent_ alone; several buffers need the links.
  void link_first() noexcept {
    if (buffers() == 1) source_->link(handle_) = {{}, size(), 0};
  }

  Source* source_ = nullptr;
  handle handle_{};
  virtio_net_hdr header_;  // means something where extent_ says `offload`
  std::uint64_t extent_ = 0;
};

using frame = basic_frame<buffer_pool>;  ///< the usual one

namespace detail {

// How queues take frames apart and put them together, one store a member.
template <class Source>
struct frame_access {
  using frame = basic_frame<Source>;
  using handle = typename Source::handle;
  static constexpr std::uint64_t one_buffer = frame::one_buffer;
  static constexpr std::uint64_t plain_header = frame::plain_header;
  static constexpr std::uint64_t offload = frame::offload;

  static Source*& source(frame& f) noexcept { return f.source_; }
  static handle& first(frame& f) noexcept { return f.handle_; }
  static virtio_net_hdr& header(frame& f) noexcept { return f.header_; }
  static std::uint64_t& extent(frame& f) noexcept { return f.extent_; }
};

}  // namespace detail

}  // namespace vkring::inline v0

#endif  // VKRING_MEMORY_FRAME_HPP
