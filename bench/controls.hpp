// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_CONTROLS_HPP
#define VKRING_BENCH_CONTROLS_HPP

// What the figures of rings are held against: queues that check nothing and negotiate nothing, a cache
// line that goes to and fro, and copying alone.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ends.hpp"
#include "pair.hpp"

namespace bench {

/// An entry as large as a descriptor.
struct spsc_entry {
  std::uint64_t address;
  std::uint64_t token;
};

/// A queue from one thread to one other: entries, and the counts of both sides. Each side keeps a copy
/// of the other's count, and looks again only when that one does not suffice.
template <class Entry>
class spsc {
 public:
  spsc(std::byte* entries, std::byte* added, std::byte* taken, std::uint32_t size) noexcept
      : entries_(reinterpret_cast<Entry*>(entries)),
        added_(reinterpret_cast<std::uint32_t*>(added)),
        taken_(reinterpret_cast<std::uint32_t*>(taken)),
        mask_(size - 1) {}

  class producer {
   public:
    explicit producer(const spsc& queue) noexcept : queue_(queue) {}

    [[nodiscard]] std::uint32_t in_flight() noexcept {
      taken_seen_ = std::atomic_ref(*queue_.taken_).load(std::memory_order_acquire);
      return added_ - taken_seen_;
    }
    [[nodiscard]] bool has_room(std::uint32_t n) noexcept {
      const std::uint32_t most = queue_.mask_ + 1 - n;
      return added_ - taken_seen_ <= most || in_flight() <= most;
    }
    template <class Generate>
    [[gnu::always_inline]] void add(std::uint32_t n, Generate&& generate) noexcept {
      for_each_slot(added_, n, queue_.mask_, [&](std::size_t slot, std::size_t nth)
                                                 __attribute__((always_inline)) {
                                                   queue_.entries_[slot] = generate(nth);
                                                   return true;
                                                 });
      added_ += n;
      std::atomic_ref(*queue_.added_).store(added_, std::memory_order_release);
    }

   private:
    spsc queue_;
    std::uint32_t added_ = 0;
    std::uint32_t taken_seen_ = 0;
  };

  class consumer {
   public:
    explicit consumer(const spsc& queue) noexcept : queue_(queue) {}

    /// How many entries there are, `most` at most.
    [[nodiscard]] std::uint32_t pending(std::uint32_t most) noexcept {
      if (added_seen_ - taken_ < most) {
        added_seen_ = std::atomic_ref(*queue_.added_).load(std::memory_order_acquire);
      }
      return std::min(most, added_seen_ - taken_);
    }
    template <class Visit>
    [[gnu::always_inline]] void take(std::uint32_t n, Visit&& visit) noexcept {
      for_each_slot(taken_, n, queue_.mask_, [&](std::size_t slot, std::size_t nth)
                                                 __attribute__((always_inline)) {
                                                   visit(queue_.entries_[slot], nth);
                                                   return true;
                                                 });
      taken_ += n;
      std::atomic_ref(*queue_.taken_).store(taken_, std::memory_order_release);
    }

   private:
    spsc queue_;
    std::uint32_t taken_ = 0;
    std::uint32_t added_seen_ = 0;
  };

 private:
  Entry* entries_;
  std::uint32_t* added_;
  std::uint32_t* taken_;
  std::uint32_t mask_;
};

/// Memory for a queue, its parts placed as those of a ring are.
template <class Entry>
struct spsc_layout {
  class ring_type : public spsc<Entry> {
   public:
    using spsc<Entry>::spsc;
    [[nodiscard]] static constexpr std::array<std::size_t, 3> part_bytes(
        std::size_t size) noexcept {
      return {sizeof(Entry) * size, sizeof(std::uint32_t), sizeof(std::uint32_t)};
    }
  };
};

/// Entries one way.
struct spsc_one_way : loopback_base {
  using loopback_base::loopback_base;
  using layout = spsc_layout<spsc_entry>;

  class driver {
   public:
    explicit driver(const spsc_one_way& with)
        : there_(with.ring<layout>()), burst_(with.options.burst) {}

    void turn() noexcept {
      while (!there_.has_room(burst_)) idle_.wait();
      offer();
    }
    void drain() noexcept {
      while (there_.in_flight() != 0) idle_.wait();
    }

    tally sent;

   protected:
    [[gnu::noinline]] void offer() noexcept {
      const std::uint64_t before = sent.frames;
      std::uint64_t sum = 0;
      there_.add(burst_, [&](std::size_t nth) __attribute__((always_inline)) {
        const std::uint64_t number = before + nth;
        const spsc_entry entry{number * frame_size, number};
        sum += entry.address;
        return entry;
      });
      sent.frames += burst_;
      sent.sum += sum;
    }

    layout::ring_type::producer there_;
    std::uint32_t burst_;
    patience idle_;
  };

  class device {
   public:
    explicit device(const spsc_one_way& with)
        : there_(with.ring<layout>()), burst_(with.options.burst) {}

    bool serve() noexcept {
      const std::uint32_t n = there_.pending(burst_);
      if (n == 0) return false;
      take(n);
      return true;
    }

    tally received;

   protected:
    [[gnu::noinline]] void take(std::uint32_t n) noexcept {
      std::uint64_t sum = 0;
      there_.take(n, [&](const spsc_entry& entry, std::size_t nth) __attribute__((always_inline)) {
        sum += entry.address;
        tokens_[nth] = entry.token;
      });
      received.frames += n;
      received.sum += sum;
    }

    layout::ring_type::consumer there_;
    std::uint32_t burst_;
    std::array<std::uint64_t, max_burst> tokens_;  // of what was taken last
  };
};

/// Entries there and their tokens back: what a ring does. `Token` is an entry of the queue back.
template <class Token>
struct spsc_two_way : spsc_one_way {
  explicit spsc_two_way(const loopback_options& o) : spsc_one_way(o), back(o) {}

  using back_layout = spsc_layout<Token>;
  loopback_base back;

  class driver : public spsc_one_way::driver {
    using base = spsc_one_way::driver;

   public:
    explicit driver(const spsc_two_way& with)
        : base(with), back_(with.back.template ring<back_layout>()), size_(with.options.size) {}

    void turn() noexcept {
      while (out_ + base::burst_ > size_) {
        if (!reclaim()) base::idle_.wait();
      }
      // The other side counts what it took before it gives anything back.
      while (!base::there_.has_room(base::burst_)) base::idle_.wait();
      base::offer();
      out_ += base::burst_;
    }
    void drain() noexcept {
      while (out_ != 0) {
        if (!reclaim()) base::idle_.wait();
      }
      const std::uint64_t n = base::sent.frames;
      if (tokens_ != n * (n - 1) / 2) base::sent = {};  // what came back is not what was sent
    }

   private:
    [[gnu::noinline]] bool reclaim() noexcept {
      const std::uint32_t n = back_.pending(out_);
      std::uint64_t sum = 0;
      back_.take(n, [&](const Token& entry, std::size_t) __attribute__((always_inline)) {
        sum += token_of(entry);
      });
      tokens_ += sum;
      out_ -= n;
      return n != 0;
    }
    static std::uint64_t token_of(const spsc_entry& entry) noexcept { return entry.token; }
    static std::uint64_t token_of(std::uint64_t entry) noexcept { return entry; }

    typename back_layout::ring_type::consumer back_;
    std::uint32_t size_;
    std::uint32_t out_ = 0;
    std::uint64_t tokens_ = 0;
  };

  class device : public spsc_one_way::device {
    using base = spsc_one_way::device;

   public:
    explicit device(const spsc_two_way& with)
        : base(with), back_(with.back.template ring<back_layout>()) {}

    bool serve() noexcept {
      const std::uint32_t n = base::there_.pending(base::burst_);
      if (n == 0) return false;
      base::take(n);
      while (!back_.has_room(n)) idle_.wait();
      give_back(n);
      return true;
    }

   private:
    [[gnu::noinline]] void give_back(std::uint32_t n) noexcept {
      back_.add(n, [&](std::size_t nth) __attribute__((always_inline)) {
        if constexpr (sizeof(Token) == sizeof(std::uint64_t)) {
          return base::tokens_[nth];
        } else {
          return Token{0, base::tokens_[nth]};
        }
      });
    }

    typename back_layout::ring_type::producer back_;
    patience idle_;
  };
};

/// One number in one cache line, there and back for each turn.
struct ping_pong {
  alignas(line_pair) std::atomic<std::uint64_t> line{0};

  class driver {
   public:
    explicit driver(ping_pong& with) : line_(&with.line) {}

    void turn() noexcept {
      line_->store(++sent.frames * 2 - 1, std::memory_order_release);
      while (line_->load(std::memory_order_acquire) != sent.frames * 2) idle_.wait();
    }
    void drain() noexcept {}

    tally sent;

   private:
    std::atomic<std::uint64_t>* line_;
    patience idle_;
  };

  class device {
   public:
    explicit device(ping_pong& with) : line_(&with.line) {}

    bool serve() noexcept {
      const std::uint64_t seen = line_->load(std::memory_order_acquire);
      if (seen % 2 == 0) return false;
      ++received.frames;
      line_->store(seen + 1, std::memory_order_release);
      return true;
    }

    tally received;

   private:
    std::atomic<std::uint64_t>* line_;
  };
};

/// One thread that writes frames and copies them out, as both ends do it, with no ring in between.
inline void measure_memcpy(benchmark::State& state, const loopback_options& o) {
  constexpr std::size_t stride = buffer_arena::bytes(1, 2048);  // as the buffers of a pool lie
  constexpr std::size_t room = 128;
  const region buffers = loopback_base::memory(o.size * stride, page_kind::normal);
  const region copies = loopback_base::memory(o.burst * room, page_kind::normal);
  tally sent, received;
  std::size_t slot = 0;
  for (auto _ : state) {
    for (std::size_t i = 0; i < o.burst; ++i) {
      sent.put_frame(buffers.bytes().data() + (slot + i) % o.size * stride + buffer_arena::line);
    }
    for (std::size_t i = 0; i < o.burst; ++i) {
      std::byte* const to = copies.bytes().data() + i * room;
      std::size_t length = header_size + frame_size;
      asm volatile("" : "+r"(length));  // a device is told by the descriptor
      std::memcpy(to,
                  buffers.bytes().data() + (slot + i) % o.size * stride + buffer_arena::line -
                      header_size,
                  length);
      received.take_frame(to + header_size);
    }
    slot = (slot + o.burst) % o.size;
  }
  report(state, sent, received);
}

}  // namespace bench

#endif  // VKRING_BENCH_CONTROLS_HPP
