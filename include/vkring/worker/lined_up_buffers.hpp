// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_LINED_UP_BUFFERS_HPP
#define VKRING_WORKER_LINED_UP_BUFFERS_HPP

// Receive buffers on their way from a ring to readv.

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vkring/ring/chain.hpp>

namespace vkring::inline v0 {

namespace detail {

// Receive buffers that were taken from the ring and not used yet, lined up for readv.
class lined_up_buffers {
 public:
  // Memory that is not written until it is needed: few frames spill, few chains have many pieces.
  explicit lined_up_buffers(std::size_t spill_bytes)
      : pieces_(std::make_unique_for_overwrite<iovec[]>(max_chain_pieces)),
        heads_(std::make_unique_for_overwrite<buffer[]>(max_chain_pieces)),
        spill_(std::make_unique_for_overwrite<std::byte[]>(spill_bytes)),
        spill_bytes_(spill_bytes) {}

  struct buffer {
    std::uint16_t head;
    std::uint16_t pieces;
    std::uint64_t bytes;
  };

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t count() const noexcept { return heads_end_ - heads_begin_; }
  [[nodiscard]] const buffer& front() const noexcept { return heads_[heads_begin_]; }
  [[nodiscard]] const buffer& at(std::size_t i) const noexcept { return heads_[heads_begin_ + i]; }

  // Appends a chain; false when there is no place for it.
  bool push(const device_chain& chain) noexcept {
    const std::size_t n = chain.writable.size();
    if (heads_begin_ == heads_end_) heads_begin_ = heads_end_ = pieces_begin_ = pieces_end_ = 0;
    if (!has_place(n)) compact();
    if (!has_place(n)) return false;
    buffer added{chain.head, static_cast<std::uint16_t>(n), 0};
    for (const std::span<std::byte> piece : chain.writable) {
      pieces_[pieces_end_++] = {piece.data(), piece.size()};
      added.bytes += piece.size();
    }
    heads_[heads_end_++] = added;
    bytes_ += added.bytes;
    return true;
  }
  void pop() noexcept {
    bytes_ -= front().bytes;
    pieces_begin_ += front().pieces;
    ++heads_begin_;
  }

  // For readv: everything that is lined up, and the spill behind it.
  [[nodiscard]] std::span<const iovec> for_read() noexcept {
    pieces_[pieces_end_] = {spill_.get(), spill_bytes_};
    return {&pieces_[pieces_begin_], pieces_end_ - pieces_begin_ + 1};
  }
  [[nodiscard]] std::span<std::byte> spill() const noexcept { return {spill_.get(), spill_bytes_}; }

  // Copies from the front of the lined-up buffers, which hold as much as `into` at least.
  void read(std::span<std::byte> into) const noexcept {
    for (std::size_t i = pieces_begin_; i != pieces_end_ && !into.empty(); ++i) {
      const std::size_t n = std::min<std::size_t>(into.size(), pieces_[i].iov_len);
      std::memcpy(into.data(), pieces_[i].iov_base, n);
      into = into.subspan(n);
    }
  }

  // Copies to the front of the lined-up buffers, `offset` bytes in.
  void write(std::uint64_t offset, std::span<const std::byte> data) noexcept {
    for (std::size_t i = pieces_begin_; i != pieces_end_ && !data.empty(); ++i) {
      if (offset >= pieces_[i].iov_len) {
        offset -= pieces_[i].iov_len;
        continue;
      }
      const std::size_t n = std::min<std::size_t>(data.size(), pieces_[i].iov_len - offset);
      std::memcpy(static_cast<std::byte*>(pieces_[i].iov_base) + offset, data.data(), n);
      data = data.subspan(n);
      offset = 0;
    }
  }

 private:
  // One piece stays free for the spill.
  [[nodiscard]] bool has_place(std::size_t pieces) const noexcept {
    return pieces_end_ + pieces < max_chain_pieces && heads_end_ != max_chain_pieces;
  }
  void compact() noexcept {
    std::copy(&pieces_[pieces_begin_], &pieces_[pieces_end_], &pieces_[0]);
    std::copy(&heads_[heads_begin_], &heads_[heads_end_], &heads_[0]);
    pieces_end_ -= pieces_begin_;
    heads_end_ -= heads_begin_;
    pieces_begin_ = heads_begin_ = 0;
  }

  std::unique_ptr<iovec[]> pieces_;
  std::unique_ptr<buffer[]> heads_;
  std::unique_ptr<std::byte[]> spill_;
  std::size_t spill_bytes_;
  std::size_t pieces_begin_ = 0;
  std::size_t pieces_end_ = 0;
  std::size_t heads_begin_ = 0;
  std::size_t heads_end_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace detail

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_LINED_UP_BUFFERS_HPP
