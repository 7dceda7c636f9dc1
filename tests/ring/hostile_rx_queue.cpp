// SPDX-License-Identifier: BSD-3-Clause

// Rx queues against a device that breaks the rules: a named fault, a queue that stops, every buffer back
// in its source exactly once, and nothing touched outside the buffers.

#include <array>
#include <catch2/catch.hpp>
#include <random>
#include <vector>

#include "ring/hostile_bed.hpp"

namespace vkring::test {
namespace {

// A broken queue hands out nothing and takes nothing, and its application can go on and stop.
void check_broken(hostile_rx& bed, ring_fault fault, std::uint64_t value) {
  CAPTURE(name(fault), name(bed.queue.ring().breach().fault));
  REQUIRE(bed.queue.ring().breach());
  CHECK(bed.queue.ring().breach().fault == fault);
  CHECK(bed.queue.ring().breach().value == value);
  const int kicks = bed.kicks;
  const std::uint64_t frames = bed.queue.counters().frames.value();
  CHECK(bed.receive().empty());
  bed.queue.refill();
  (void)bed.queue.enable_call();
  bed.queue.disable_call();
  CHECK(bed.kicks == kicks);
  CHECK(bed.queue.counters().frames.value() == frames);
  bed.queue.stop();
  CHECK(bed.queue.ring().breach().fault == fault);
}

// `attack(bed)` is called in every mode, with eight buffers in the ring and one frame received.
template <class Attack>
void attack_rx(Attack&& attack) {
  for_each_mix(8, [&](bed_options options) {
    for (const bool mergeable : {false, true}) {
      for (const bool general : {false, true}) {
        if (general && options.ring.in_order) continue;
        CAPTURE(mergeable, general);
        options.rules.mergeable = mergeable;
        guarded_source memory;
        {
          hostile_rx bed(memory.source, options);
          bed.deliver(pattern(1, 60));
          if (general) {
            const auto skipped = bed.take();
            bed.deliver(pattern(2, 60));
            bed.device.push_used(skipped.head, options.rules.header_size + 20);
            store_header(skipped.bytes.data(), options.rules.header_size,
                         {0, 0, 0, 0, 0, 0, 1, 0, 0});
          }
          bed.publish();
          auto before = bed.receive();
          REQUIRE(before.size() == (general ? 3 : 1));
          REQUIRE((bed.queue.ring().mode() == ring_mode::general) == general);
          attack(bed);
          CHECK(content_of(before[0]) == pattern(1, 60));
        }
        memory.check();
      }
    }
  });
}

std::uint32_t header_bytes(const ring_bed& bed) { return bed.options.rules.header_size; }

TEST_CASE("rx: fewer bytes than a header, more than a buffer", "[ring]") {
  for (const int off : {0, 1, 2, 3, 4}) {
    attack_rx([&](hostile_rx& bed) {
      const std::uint32_t most = buffer_bytes + header_bytes(bed);
      const std::array<std::uint32_t, 5> lengths{0, header_bytes(bed) - 1, most + 1, 0x80000000,
                                                 0xffffffff};
      const std::uint32_t length = lengths[static_cast<std::size_t>(off)];
      bed.deliver(pattern(3, 60));
      bed.device.push_used(bed.take().head, length);
      bed.deliver(pattern(4, 60));
      bed.publish();
      CHECK(bed.receive().size() == 1);
      check_broken(bed, ring_fault::used_length, length);
    });
  }
}

TEST_CASE("rx: a continuation of more bytes than a buffer", "[ring]") {
  attack_rx([](hostile_rx& bed) {
    if (!bed.options.rules.mergeable) return bed.queue.stop();
    const std::uint32_t most = buffer_bytes + header_bytes(bed);
    bed.deliver(pattern(1, buffer_bytes + 1), {}, 3);
    bed.device.push_used(bed.take().head, most + 1);
    bed.publish();
    CHECK(bed.receive().empty());
    check_broken(bed, ring_fault::used_length, most + 1);
  });
}

TEST_CASE("rx: used ids that are not a buffer's, or not any more", "[ring]") {
  attack_rx([](hostile_rx& bed) {
    const std::uint16_t head = bed.take().head;
    bed.device.push_used(static_cast<std::uint16_t>(head + 8), 60);
    bed.publish();
    CHECK(bed.receive().empty());
    check_broken(bed, ring_fault::used_id_range, head + 8u);
  });
  attack_rx([](hostile_rx& bed) {
    const auto first = bed.take();
    store_header(first.bytes.data(), header_bytes(bed), {0, 0, 0, 0, 0, 0, 1, 0, 0});
    bed.device.push_used(first.head, 60);
    bed.device.push_used(first.head, 60);
    bed.publish();
    CHECK(bed.receive().size() == 1);
    check_broken(
        bed, bed.options.ring.in_order ? ring_fault::used_id_order : ring_fault::used_id_not_head,
        first.head);
  });
}

TEST_CASE("rx: a used index that jumps", "[ring]") {
  for (const std::uint32_t jump : {9u, 256u, 32768u, 65535u}) {
    attack_rx([&](hostile_rx& bed) {
      const std::uint32_t to = bed.device.used_position().value() + jump;
      direct::publish_used(bed.ring.used_index(), static_cast<std::uint16_t>(to));
      CHECK(bed.receive().empty());
      check_broken(bed, ring_fault::used_index_jump, static_cast<std::uint16_t>(to));
    });
  }
}

TEST_CASE("rx: a number of buffers that cannot be", "[ring]") {
  for (const int claimed : {0, 3, 4, 8, 9, 65535}) {
    for (const std::size_t used : {1u, 2u}) {
      attack_rx([&](hostile_rx& bed) {
        if (!bed.options.rules.mergeable) return bed.queue.stop();
        CAPTURE(claimed, used);
        bed.deliver(pattern(5, 60));
        bed.deliver(pattern(6, used == 1 ? 60 : buffer_bytes + 1), {}, claimed);
        bed.publish();
        const auto got = bed.receive();
        REQUIRE(got.size() == 1);
        CHECK(content_of(got[0]) == pattern(5, 60));
        const bool beyond = claimed == 0 || claimed > 8;
        check_broken(
            bed, ring_fault::num_buffers,
            static_cast<std::uint64_t>(beyond ? claimed : claimed - static_cast<int>(used)));
      });
    }
  }
}

TEST_CASE("rx: a frame over buffers of 1 GiB does not outgrow its size", "[ring]") {
  // Only the headers are written to, so the memory behind the rest is never there.
  constexpr std::uint32_t giant = 1u << 30;
  const std::size_t size = registered_memory::bytes(8, giant);
  void* const all = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(all != MAP_FAILED);
  for (std::uint16_t count = 1; count <= 8; ++count) {
    registered_memory source({static_cast<std::byte*>(all), size}, giant, guest);
    bed_options options;
    options.rules.mergeable = true;
    hostile_rx bed(source, options);
    for (std::uint16_t i = 0; i < count; ++i) {
      const auto next = bed.take();
      if (i == 0) {
        virtio_net_hdr header;
        header.num_buffers = count;
        store_header(next.bytes.data(), 12, header);
      }
      bed.device.push_used(next.head, static_cast<std::uint32_t>(next.bytes.size()));
    }
    bed.publish();
    auto got = bed.receive();
    CHECK(got.size() == (count <= 3 ? 1 : 0));
    if (count <= 3) {
      CHECK(got[0].size() == count * std::uint64_t{source.capacity()} + (count - 1u) * 12u);
    } else {
      CHECK(bed.queue.ring().breach().fault == ring_fault::num_buffers);
    }
    got.clear();
    bed.queue.stop();
    check_all_back(source);
  }
  ::munmap(all, size);
}

TEST_CASE("rx: a header that changes while its frame is received", "[ring]") {
  // Between the look at num_buffers and the copy of the header, the device writes another one.
  for (const int how : {0, 1, 2, 3}) {
    attack_rx([&](hostile_rx& bed) {
      if (!bed.options.rules.mergeable) return bed.queue.stop();
      CAPTURE(how);
      std::byte* header = nullptr;
      bed.device.pop(1, [&](const device_chain& chain) { header = chain.writable[0].data(); });
      bed.device.unpop(1);
      bed.deliver(pattern(6, 2 * buffer_bytes), partial_checksum());
      bed.publish();
      const bytes lawful(header, header + header_bytes(bed));
      const used_element* const second =
          bed.ring.used_elements() + (bed.device.used_position() + 7).slot(7);
      auto change = [&](const void* word) {
        if (word != &second->id) return;
        virtio_net_hdr other = load_header(lawful.data(), lawful.size());
        if (how == 0) other.num_buffers = 7;
        if (how == 1) other = {};
        if (how == 2) other.csum_start = 65535;
        if (how == 3) other = tso4(), other.num_buffers = 0;
        store_header(header, header_bytes(bed), other);
      };
      std::vector<own_frame> got;
      {
        const interference interfere(change);
        got = bed.receive();
      }
      CHECK_FALSE(bed.queue.ring().breach());
      CHECK(bed.queue.counters().dropped() == (how == 2 ? 1 : 0));
      if (how == 2) {
        CHECK(got.empty());
      } else {
        REQUIRE(got.size() == 1);
        CHECK(got[0].buffers() == 2);
        CHECK(got[0].size() == 2 * buffer_bytes);
        CHECK(got[0].header().num_buffers == 0);
        // What was checked is what is told.
        CHECK(check_rx_header(got[0].header(), got[0].size(), all_offloads) == header_fault::none);
      }
      got.clear();
      bed.queue.stop();
    });
  }
}

TEST_CASE("rx: a device that writes what it likes, when it likes", "[ring]") {
  std::uint64_t received = 0, broken = 0, dropped = 0, chains = 0;
  for (std::uint32_t seed = 1; seed <= 600; ++seed) {
    CAPTURE(seed);
    std::minstd_rand random(seed);
    const auto below = [&](std::uint32_t n) { return static_cast<std::uint32_t>(random()) % n; };
    guarded_source memory;
    bed_options options;
    options.ring.size = static_cast<std::uint16_t>(1u << below(6));
    options.ring.event_idx = below(2) == 0;
    options.ring.in_order = below(3) == 0;
    options.ring.start = ring_index(65530);
    options.rules.mergeable = below(3) != 0;
    options.rules.header_size = below(2) == 0 ? 12 : 24;
    options.rules.offloads = all_offloads;
    const std::uint32_t rate = below(2) == 0 ? 0 : 4 + below(60);
    {
      hostile_rx bed(memory.source, options);
      // Any bit of a used word, any bit of a header.
      auto meddle = [&](const void*) {
        if (rate == 0 || below(rate) != 0) return;
        const std::size_t used = split_ring::used_offset(options.ring.size);
        const std::span<std::byte> words = bed.memory.bytes().subspan(used);
        const std::size_t at = below(2) == 0 ? below(8) : below(4 + 8u * options.ring.size);
        words[at] ^= static_cast<std::byte>(1u << below(8));
        const std::size_t stride = buffer_arena::bytes(1, buffer_bytes);
        memory.bytes()[below(buffers) * stride + buffer_arena::line - 1 - below(24)] ^=
            static_cast<std::byte>(1u << below(8));
      };
      std::vector<own_frame> kept;
      for (int step = 0; step < 60; ++step) {
        const auto most_parts = std::min<std::uint16_t>(5, options.ring.size);
        for (std::uint32_t n = below(6); n != 0 && bed.device.avail(most_parts) >= most_parts;
             --n) {
          const std::uint32_t part = 60 + below(buffer_bytes - 60);
          const std::uint32_t most = options.rules.mergeable ? most_parts * part : buffer_bytes;
          virtio_net_hdr header = below(3) == 0 ? tso4() : virtio_net_hdr{};
          if (below(8) == 0) header.gso_size = 0;
          bed.deliver(pattern(n, 60 + below(most - 59)), header,
                      below(rate == 0 ? 40 : 400) == 0 ? static_cast<int>(below(5)) : -1,
                      options.rules.mergeable ? part : SIZE_MAX);
        }
        if (below(60) == 0 && bed.device.avail(1) != 0) {
          bed.device.push_used(bed.take().head, below(700));
        }
        bed.publish();
        std::vector<own_frame> got(below(9));
        {
          const interference interfere(meddle);
          got.resize(bed.queue.receive(got));
        }
        received += got.size();
        for (own_frame& each : got) {
          // All of it lies in buffers, the header's reserve of a continuation included.
          std::size_t sum = 0;
          std::uint32_t parts = 0;
          each.for_each_segment([&](std::span<std::byte> part) {
            sum += part.size();
            ++parts;
            if (part.empty()) return;
            std::fill(part.begin(), part.end(), std::byte{1});  // guarded
          });
          REQUIRE(sum == each.size());
          REQUIRE(parts == each.buffers());
          chains += parts > 1 ? 1 : 0;
          const virtio_net_hdr header = each.header();
          REQUIRE(check_rx_header(header, each.size(), all_offloads) == header_fault::none);
          if (below(4) == 0) kept.push_back(std::move(each));
        }
        if (below(2) == 0) bed.queue.recycle(got);
        if (kept.size() > 8) kept.clear();
        if (bed.device.avail(1) == 0 && below(4) == 0) bed.queue.refill();
      }
      broken += bed.queue.ring().breach() ? 1 : 0;
      dropped += bed.queue.counters().dropped();
      bed.queue.stop();
    }
    memory.check();
  }
  CHECK(received > 1000);
  CHECK(broken > 100);
  CHECK(dropped > 50);
  CHECK(chains > 100);
}

}  // namespace
}  // namespace vkring::test
