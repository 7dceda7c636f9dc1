// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_PAIR_WORK_HPP
#define VKRING_BENCH_PAIR_WORK_HPP

// The work of two threads over one ring: descriptors alone, or frames that are written and copied out.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "ends.hpp"
#include "pair.hpp"

namespace bench {

/// Descriptors alone: the device adds up the addresses that it gets, the driver the tokens that come
/// back. Nobody touches the buffers.
template <class Layout>
struct descriptors : loopback_base {
  explicit descriptors(const loopback_options& o)
      : loopback_base(o), buffers(memory(count * spacing, page_kind::normal)) {
    // Addresses are pointers, so that both sides add up the same.
    const guest_region identical{reinterpret_cast<std::uintptr_t>(buffers.bytes().data()),
                                 buffers.bytes().data(), buffers.bytes().size()};
    reach({&identical, 1});
  }

  static constexpr std::uint32_t count = 4096;
  static constexpr std::uint32_t spacing = 256;
  region buffers;

  class driver {
   public:
    explicit driver(const descriptors& with)
        : ring_(with.ring<Layout>(), with.ring_terms(), with.tables),
          burst_(with.options.burst),
          indirect_(with.options.indirect),
          first_(reinterpret_cast<std::uintptr_t>(with.buffers.bytes().data())) {}

    void turn() noexcept {
      while (ring_.room() < burst_) {
        if (!reclaim()) idle_.wait();
      }
      indirect_ ? offer_tables() : offer();
      ring_.publish();
      (void)ring_.kick_needed();
    }
    void drain() noexcept {
      while (ring_.in_flight() != 0) {
        if (!reclaim()) idle_.wait();
      }
      if (tokens_ != 0) sent = {};  // what came back is not what was sent
    }

    tally sent;

   private:
    [[nodiscard]] std::uint64_t address(std::uint64_t nth) const noexcept {
      return first_ + nth % count * spacing;
    }
    [[gnu::noinline]] void offer() noexcept {
      std::uint64_t sum = 0;
      const std::uint64_t before = sent.frames;
      const std::uint16_t added = ring_.template add_burst<false>(
          burst_, [&, this](burst_buffer<std::uint32_t> & fresh, std::size_t nth)
                      __attribute__((always_inline)) {
                        const std::uint64_t number = before + nth;
                        fresh = {address(number), frame_size, static_cast<std::uint32_t>(number)};
                        sum += fresh.address;
                        tokens_ += fresh.token;
                        return true;
                      });
      sent.frames += added;
      sent.sum += sum;
    }
    [[gnu::noinline]] void offer_tables() noexcept {
      for (std::uint16_t i = 0; i < burst_; ++i) {
        const auto token = static_cast<std::uint32_t>(sent.frames);
        const std::array<chain_buffer, frame_pieces> chain{
            {{address(sent.frames), header_size, false},
             {address(sent.frames) + header_size, frame_size, false}}};
        if (!ring_.try_add(chain, token)) return;
        ++sent.frames;
        sent.sum += chain[0].address;
        tokens_ += token;
      }
    }
    // Takes back what was used, if anything was.
    [[gnu::noinline]] bool reclaim() noexcept {
      std::uint64_t tokens = 0;
      const std::uint16_t pending = ring_.used_at_most(ring_.size());
      std::uint16_t done = ring_.reclaim_burst(
          pending, [&](std::size_t, std::uint32_t token) __attribute__((always_inline)) {
            tokens += token;
            return true;
          });
      if (done == 0 && ring_.used_pending(1) != 0) [[unlikely]]
        done = ring_.reclaim(ring_.size(), [&](std::uint32_t token) { tokens += token; });
      tokens_ -= tokens;
      return done != 0;
    }

    virtqueue<Layout, driver_side, std::uint32_t> ring_;
    std::uint16_t burst_;
    bool indirect_;
    std::uint64_t first_;
    std::uint64_t tokens_ = 0;  // the sum of those that are out
    patience idle_;
  };

  class device {
   public:
    explicit device(const descriptors& with) : end_(with) { end_.disable_kick(); }

    bool serve() noexcept {
      const std::uint16_t popped = end_.pop();
      if (popped == 0) return false;
      std::uint64_t sum = 0;
      for (const buffer_start each : end_.popped()) {
        sum += reinterpret_cast<std::uintptr_t>(each.data);
      }
      received.frames += popped;
      received.sum += sum;
      end_.push(0);
      return true;
    }

    tally received;

   private:
    device_end<Layout> end_;
  };
};

/// A buffer that a device is about to read: its lines are on their way.
struct fetched_buffer {
  std::span<std::byte> bytes;

  fetched_buffer() noexcept = default;
  [[gnu::always_inline]] explicit fetched_buffer(std::span<std::byte> buffer) noexcept
      : bytes(buffer) {
    __builtin_prefetch(bytes.data());
    __builtin_prefetch(bytes.data() + bytes.size() - 1);
  }
};

/// The device side that copies each frame out, with its header.
template <class Layout>
class copying_device {
 public:
  explicit copying_device(const loopback& with) : end_(with), expects_csum_(with.options.csum) {
    end_.disable_kick();
  }

  bool serve() noexcept {
    if (end_.pop() == 0) return false;
    copy_out();
    end_.push(0);
    return true;
  }

  tally received;

 private:
  [[gnu::noinline]] void copy_out() noexcept {
    std::uint64_t wrong = 0;
    std::byte* to = copies_.data();
    for (const fetched_buffer& each : end_.popped()) {
      std::memcpy(to, each.bytes.data(), std::min<std::size_t>(each.bytes.size(), room));
      received.take_frame(to + header_size);
      wrong |= static_cast<std::uint64_t>(to[0] != std::byte{expects_csum_});
      to += room;
    }
    received.sum += wrong;
  }

  static constexpr std::size_t room = 128;

  device_end<Layout, fetched_buffer> end_;
  bool expects_csum_;
  alignas(64) std::array<std::byte, max_burst * room> copies_;
};

/// What drivers of frames have in common, `End` being their end of the ring.
template <class End>
class frame_driver {
 public:
  explicit frame_driver(const loopback& with) : burst_(with.options.burst), end_(with) {}

  void drain() noexcept {
    for (; end_.in_flight() != 0; end_.reclaim()) idle_.wait();
  }

  tally sent;

 protected:
  std::size_t burst_;
  End end_;
  patience idle_;
};

/// Frames that the driver writes and the device copies out, on leases.
template <class Layout>
struct lease_frames : loopback {
  using loopback::loopback;
  using device = copying_device<Layout>;

  struct driver : frame_driver<lease_sender<Layout>> {
    using frame_driver<lease_sender<Layout>>::frame_driver;

    void turn() noexcept {
      this->end_.allocate(this->burst_);
      this->end_.write(this->sent);
      for (std::size_t done = this->end_.send(); done != this->burst_;) {
        this->idle_.wait();
        done += this->end_.send(done);
      }
    }
  };
};

/// The same in slots.
template <class Layout>
struct slot_frames : loopback {
  using loopback::loopback;
  using device = copying_device<Layout>;

  struct driver : frame_driver<slot_sender<Layout>> {
    using frame_driver<slot_sender<Layout>>::frame_driver;

    void turn() noexcept {
      for (std::size_t done = 0; done != this->burst_;) {
        const std::size_t n = this->end_.reserve(done);
        if (n == 0) {
          this->idle_.wait();
          continue;
        }
        this->end_.write(this->sent);
        this->end_.commit();
        done += n;
      }
    }
  };
};

}  // namespace bench

#endif  // VKRING_BENCH_PAIR_WORK_HPP
