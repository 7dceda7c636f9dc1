// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_FUZZ_SUPPORT_DEVICE_BODY_HPP
#define VKRING_TESTS_FUZZ_SUPPORT_DEVICE_BODY_HPP

// The device side of a ring against a driver made of fuzzer input. Whatever the driver writes:
// every piece lies in the address space and may be used as the chain says, chains stay within the
// limits, a broken queue hands out nothing, and nothing is written but what is the device's to write.

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>
#include <vector>
#include <vkring/ring/concepts.hpp>

#include "fuzz/support/input.hpp"
#include "fuzz/support/ring_mix.hpp"
#include "ring/arena.hpp"
#include "ring/hands.hpp"
#include "ring/invariant.hpp"
#include "ring/meddling.hpp"

namespace vkring::test {

inline constexpr std::uint64_t low = 0x1'0000, high = low + 4096, rom = 0x8'0000;

template <class Layout>
class device_body {
 public:
  device_body(fuzz_input& input, const ring_options& options)
      : input_(input),
        options_(options),
        memory_(reused_memory(0, ring_type::bytes(options.size))),
        low_(reused_memory(1, 4096)),
        high_(reused_memory(2, 4096)),
        rom_(reused_memory(3, 4096)),
        ring_(ring_type::place(memory_.bytes(), options.size)),
        device_((add_regions(), ring_), options, mapped_space(map_)),
        hand_(ring_, options) {
    hand::allow(meddler::get(), memory_.bytes(), options.size);
    if (options.indirect) {
      for (const guarded_memory* const each : {&low_, &high_, &rom_}) {
        meddler::get().may_load.push_back({each->bytes(), 8});
      }
    }
    meddler::get().rate = input.flag() ? input.next() : std::uint32_t{0};
    meddler::get().seed = input.next();
  }

  void run() {
    while (!input_.empty()) {
      step();
      check();
    }
  }

 private:
  using hand = driver_hand<Layout>;
  using ring_type = typename Layout::ring_type;
  using descriptor = std::remove_pointer_t<decltype(std::declval<ring_type&>().descriptors())>;

  void step() {
    switch (input_.below(16)) {
      case 0:
      case 1:
        write(ring_.descriptors()[input_.below(options_.size)], true);
        break;
      case 2:
      case 3: {
        const std::size_t entry = input_.below(16);
        write(reinterpret_cast<descriptor*>((input_.flag() ? low_ : high_).data())[entry], false);
        break;
      }
      case 4:
      case 5:
      case 6: {
        hand_.offer(input_.below(options_.size));
        hand_.show(1);
        break;
      }
      case 7:
        hand_.offer(input_.next<std::uint16_t>());
        break;
      case 8:
        hand_.show(input_.flag() ? input_.below(8) : input_.next<std::uint16_t>());
        break;
      case 9: {
        const std::size_t at = input_.next<std::uint32_t>() % memory_.size();
        memory_.data()[at] = static_cast<std::byte>(input_.next());
        break;
      }
      case 10: {
        const std::uint16_t max = input_.next();
        const std::uint16_t pending = device_.avail(max);
        const std::uint16_t got = device_.pop_burst(
            std::min(pending, max),
            [&](std::size_t, std::uint16_t head, std::span<std::byte> buffer, bool writable) {
              const std::span<const std::span<std::byte>> all(&buffer, 1);
              take({head, all.first(writable ? 0 : 1), all.first(writable ? 1 : 0)});
            });
        invariant(got <= pending, "more was popped than there was");
        break;
      }
      case 11: {
        const std::uint8_t stop = input_.next();
        device_.pop(input_.next(), [&](const device_chain& chain) {
          take(chain);
          return fresh_ % 256 != stop;
        });
        break;
      }
      case 12: {
        const auto n = static_cast<std::uint16_t>(input_.next() % (fresh_ + 1));
        device_.unpop(n);
        out_.resize(out_.size() - n);
        fresh_ -= n;
        break;
      }
      case 13:
        push();
        break;
      case 14:
        device_.publish();
        (void)device_.call_needed();
        break;
      default:
        if (input_.flag()) {
          (void)device_.enable_kick();
        } else {
          device_.disable_kick();
        }
    }
  }

  void push() {
    if (out_.empty()) return;
    fresh_ = 0;
    const auto count = static_cast<std::uint16_t>(1 + input_.next() % out_.size());
    if (options_.in_order && input_.flag()) {
      device_.push_used_batch(out_[count - 1u], 1, count);
    } else if (options_.in_order || input_.flag()) {
      device_.push_burst(count, [&](used_element& element, std::size_t nth) {
        element = {out_[nth], 1};
      });
    } else {
      device_.push_used(out_[count - 1u], 1);
      out_.erase(out_.begin() + count - 1);
      return;
    }
    out_.erase(out_.begin(), out_.begin() + count);
  }

  void take(const device_chain& chain) {
    invariant(!device_.breach(), "a broken queue handed out a chain");
    invariant(chain.head < options_.size, "a head beyond the ring");
    invariant(chain.readable.size() + chain.writable.size() <= max_chain_pieces, "too many pieces");
    std::uint64_t bytes = 0;
    for (const std::span<std::byte> piece : chain.readable) {
      bytes += piece.size();
      invariant(map_.holds(piece.data(), piece.size(), memory_access::read) || piece.empty(),
                "a readable piece outside the address space");
      if (!piece.empty())
        sum_ += static_cast<unsigned>(piece.front()) + static_cast<unsigned>(piece.back());
    }
    for (const std::span<std::byte> piece : chain.writable) {
      bytes += piece.size();
      invariant(map_.holds(piece.data(), piece.size(), memory_access::write) || piece.empty(),
                "a writable piece outside the address space");
      if (!piece.empty()) piece.front() = piece.back() = static_cast<std::byte>(sum_);
    }
    invariant(bytes <= UINT32_MAX, "a chain larger than a length can say");
    out_.push_back(chain.head);
    ++fresh_;
  }

  void check() {
    invariant(out_.size() <= options_.size, "more chains out than the ring holds");
    const bool broken = static_cast<bool>(device_.breach());
    const std::uint16_t pending = device_.avail(1);
    invariant(out_.size() + pending <= options_.size, "more chains than the ring holds");
    invariant(!broken || pending == 0, "a broken queue goes on");
  }

  void write(descriptor& to, bool in_ring) {
    static constexpr std::array<std::uint64_t, 8> bases = {
        low, high, low + 4090, high + 4090, rom, rom + 4090, 0, 0xffff'ffff'ffff'fff0};
    std::uint64_t address = bases[input_.below(8)];
    address += (input_.next() & ~1u) * 8u;
    const std::uint8_t kind = input_.next();
    const std::uint32_t length = (kind & 1) != 0   ? input_.next() * 16u
                                 : (kind & 2) != 0 ? input_.next<std::uint32_t>()
                                                   : input_.next();
    const auto flags = static_cast<std::uint16_t>(kind >> 2 & 15);
    const std::uint16_t next =
        (kind & 64) != 0 ? input_.next<std::uint16_t>() : input_.below(16) & 15u;
    direct::store(to.address, address);
    direct::store(to.rest, hand_.rest(length, flags, next, in_ring));
  }
  void add_regions() {
    meddler::get() = {};
    map_.add(low, low_.bytes());
    map_.add(high, high_.bytes());
    map_.add(rom, rom_.bytes(), false);
  }

  fuzz_input& input_;
  ring_options options_;
  const guarded_memory &memory_, &low_, &high_, &rom_;
  ring_type ring_;
  address_map map_;
  virtqueue<Layout, device_side, mapped_space, meddling> device_;
  hand hand_;
  std::vector<std::uint16_t> out_;  // heads popped and not pushed
  std::size_t fresh_ = 0;           // of these, popped since the last push
  unsigned sum_ = 0;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_FUZZ_SUPPORT_DEVICE_BODY_HPP
