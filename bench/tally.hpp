// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_TALLY_HPP
#define VKRING_BENCH_TALLY_HPP

// What benchmarks send, and how they know that it has arrived: nothing here knows what is measured.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace bench {

/// Bytes of the frames whose rates are compared, without their virtio-net header.
inline constexpr std::uint32_t frame_size = 64;

/// Frames that came by, and the sum of what they carried: each carries a number of its own.
struct tally {
  std::uint64_t frames = 0;
  std::uint64_t sum = 0;

  friend bool operator==(const tally&, const tally&) = default;

  void put_number(std::byte* payload) noexcept {
    const std::uint64_t number = next_number();
    std::memcpy(payload, &number, sizeof number);
    sum += number;
  }
  void take_number(const std::byte* payload) noexcept {
    std::uint64_t number;
    std::memcpy(&number, payload, sizeof number);
    ++frames;
    sum += number;
  }

  /// Writes a frame of `frame_size` bytes, each word of it.
  [[gnu::always_inline]] void put_frame(std::byte* payload) noexcept {
    const std::uint64_t number = next_number();
    words all;
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = number + i;
    std::memcpy(payload, all.data(), sizeof all);
    sum += all.size() * number + all.size() * (all.size() - 1) / 2;
  }
  /// Counts a frame of `frame_size` bytes, and every word of it.
  [[gnu::always_inline]] void take_frame(const std::byte* payload) noexcept {
    words all;
    std::memcpy(all.data(), payload, sizeof all);
    ++frames;
    for (const std::uint64_t word : all) sum += word;
  }

 private:
  using words = std::array<std::uint64_t, frame_size / sizeof(std::uint64_t)>;

  std::uint64_t next_number() noexcept { return ++frames * 0x9e3779b97f4a7c15; }
};

}  // namespace bench

#endif  // VKRING_BENCH_TALLY_HPP
