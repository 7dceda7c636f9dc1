// SPDX-License-Identifier: BSD-3-Clause

// The queues over packed rings, whose sizes need not be powers of two.

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <random>
#include <vector>
#include <vkring/memory/buffer_pool.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/queue/rx_queue.hpp>
#include <vkring/queue/slots.hpp>
#include <vkring/queue/tx_queue.hpp>
#include <vkring/ring/packed.hpp>

#include "ring/arena.hpp"

namespace vkring::test {
namespace {

struct no_notify {
  void operator()() const noexcept {}
};

constexpr std::uint32_t frame_bytes = 64;

// A packed ring over a pool, and a device side that takes what is there and returns it, in order or not.
class bed {
 public:
  template <class Token>
  using driver = virtqueue<packed, driver_side, Token>;

  bed(std::uint16_t size, bool shuffled)
      : options{.size = size, .event_idx = shuffled, .start = ring_index(size * 3u / 2)},
        memory(packed_ring::bytes(size)),
        pool(buffer_pool::make({.buffers = 4u * size + 64}).value()),
        ring(packed_ring::place(memory.bytes(), size)),
        shuffled_(shuffled) {
    for (const guest_region& region : pool->regions()) {
      table.add_at(region.guest, {region.host, region.size}).value();
    }
  }
  // Once the driver side has initialised the ring.
  void start() { device_.emplace_back(ring, options, table_cursor(table)); }

  // The device takes all that is there; `touch(buffer)` is called for each, in the order of use.
  template <class Touch>
  std::size_t serve(std::uint32_t written, Touch&& touch) {
    struct popped {
      std::uint16_t id;
      std::byte* at;
    };
    std::vector<popped> all;
    device_[0].pop(options.size, [&](const device_chain& chain) {
      const auto& pieces = chain.readable.empty() ? chain.writable : chain.readable;
      all.push_back({chain.head, pieces.front().data()});
    });
    REQUIRE_FALSE(device_[0].breach());
    if (written == 0) {
      for (const popped& each : all) touch(each.at);
    }
    if (shuffled_) std::shuffle(all.begin(), all.end(), random_);
    for (const popped& each : all) {
      if (written != 0) touch(each.at);
      device_[0].push_used(each.id, written);
    }
    device_[0].publish();
    return all.size();
  }

  ring_options options;
  guarded_memory memory;
  std::shared_ptr<buffer_pool> pool;
  memory_table table;
  packed_ring ring;

 private:
  bool shuffled_;
  std::minstd_rand random_{7};
  std::vector<virtqueue<packed, device_side, table_cursor>> device_;
};

void put(std::byte* at, std::uint64_t number) { std::memcpy(at, &number, sizeof number); }
std::uint64_t number_at(const std::byte* at) {
  std::uint64_t number = 0;
  std::memcpy(&number, at, sizeof number);
  return number;
}
void fill(std::byte* buffer, std::uint64_t number) {
  store_header(buffer, header_size, {.num_buffers = 1});
  put(buffer + header_size, number);
}

template <class Run>
void for_each_bed(Run&& run) {
  for (const std::uint16_t size :
       {std::uint16_t{1}, std::uint16_t{3}, std::uint16_t{7}, std::uint16_t{255}}) {
    for (const bool shuffled : {false, true}) {
      CAPTURE(size, shuffled);
      bed it(size, shuffled);
      run(it);
    }
  }
}

TEST_CASE("frames on leases through packed rings of any size", "[unit]") {
  for_each_bed([](bed& it) {
    using queue = tx_queue<bed::driver<tx_token>, buffer_pool, no_notify>;
    queue tx(bed::driver<tx_token>(it.ring, it.options), *it.pool, {}, no_notify{});
    it.start();
    std::array<frame, 32> frames;
    std::uint64_t sent = 0, arrived = 0;
    for (std::size_t turn = 0; turn < 300; ++turn) {
      const std::size_t got = tx.allocate(std::span(frames).first(1 + turn % 32));
      for (std::size_t i = 0; i < got; ++i) {
        REQUIRE(frames[i].resize(frame_bytes));
        put(frames[i].contiguous().data(), sent + i);
      }
      sent += tx.send(std::span(frames).first(got));
      it.serve(0, [&](const std::byte* at) { REQUIRE(number_at(at + header_size) == arrived++); });
    }
    REQUIRE(arrived == sent);
    REQUIRE(sent > 200);
    tx.reclaim();
    REQUIRE(tx.ring().in_flight() == 0);
  });
  for_each_bed([](bed& it) {
    using queue = rx_queue<bed::driver<buffer_handle>, buffer_pool, no_notify>;
    queue rx(bed::driver<buffer_handle>(it.ring, it.options, {}, queue::max_written(*it.pool, {})),
             *it.pool, {}, no_notify{});
    it.start();
    rx.refill();
    std::array<frame, 32> frames;
    std::uint64_t sent = 0, received = 0;
    for (std::size_t turn = 0; turn < 300; ++turn) {
      it.serve(static_cast<std::uint32_t>(header_size) + frame_bytes,
               [&](std::byte* at) { fill(at, sent++); });
      for (std::size_t got = 1; got != 0;) {
        got = rx.receive(std::span(frames).first(1 + turn % 32));
        for (std::size_t i = 0; i < got; ++i) {
          REQUIRE(frames[i].size() == frame_bytes);
          REQUIRE(number_at(frames[i].contiguous().data()) == received++);
        }
        rx.recycle(std::span(frames).first(got));
      }
    }
    REQUIRE(received == sent);
    REQUIRE(sent >= 300);
  });
}

TEST_CASE("frames in slots through packed rings of any size", "[unit]") {
  for_each_bed([](bed& it) {
    using queue = slot_tx<bed::driver<slot_frame*>, buffer_pool, no_notify>;
    queue tx = queue::make(bed::driver<slot_frame*>(it.ring, it.options), *it.pool, {}, no_notify{})
                   .value();
    it.start();
    std::uint64_t sent = 0, arrived = 0;
    for (int turn = 0; turn < 500; ++turn) {
      const auto frames = tx.reserve(1 + static_cast<std::size_t>(turn) % 9);
      for (slot_frame* const each : frames) {
        REQUIRE(each->resize(frame_bytes));
        put(each->payload().data(), sent++);
      }
      REQUIRE(tx.commit(frames.size()) == frames.size());
      if (turn % 3 == 0) {
        it.serve(0,
                 [&](const std::byte* at) { REQUIRE(number_at(at + header_size) == arrived++); });
      }
    }
    it.serve(0, [&](const std::byte* at) { REQUIRE(number_at(at + header_size) == arrived++); });
    REQUIRE(arrived == sent);
    REQUIRE(sent >= 160);
  });
  for_each_bed([](bed& it) {
    using queue = slot_rx<bed::driver<slot_frame*>, buffer_pool, no_notify>;
    queue rx = queue::make(bed::driver<slot_frame*>(it.ring, it.options, {},
                                                    queue::max_written(*it.pool, {})),
                           *it.pool, {}, no_notify{})
                   .value();
    it.start();
    std::uint64_t sent = 0, received = 0;
    for (int turn = 0; turn < 500; ++turn) {
      it.serve(static_cast<std::uint32_t>(header_size) + frame_bytes,
               [&](std::byte* at) { fill(at, sent++); });
      // Not always all of them: some stay with the application.
      for (int looks = 1 + turn % 3; looks != 0; --looks) {
        const auto frames = rx.peek(1 + static_cast<std::size_t>(turn) % 9);
        for (slot_frame* const each : frames) {
          REQUIRE(each->size() == frame_bytes);
          REQUIRE(number_at(each->payload().data()) == received++);
        }
        rx.release(frames.size());
      }
    }
    REQUIRE(received <= sent);
    REQUIRE(received >= 300);
  });
}

}  // namespace
}  // namespace vkring::test
