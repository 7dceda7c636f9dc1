// SPDX-License-Identifier: BSD-3-Clause

// ring/layout.hpp, ring/packed_layout.hpp and ring/index.hpp against the installed kernel headers, which ring_abi.c includes.

#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "vkring/core/endian.hpp"
#include "vkring/ring/index.hpp"
#include "vkring/ring/layout.hpp"
#include "vkring/ring/packed_layout.hpp"

extern "C" {
extern const std::array<unsigned, 8> uapi_ring_values;
extern const std::array<unsigned, 6> uapi_packed_values;
void uapi_fill_packed(void* descriptor, void* event);
void uapi_fill_ring(void* descriptors, void* avail, void* used, unsigned size);
int uapi_need_event(unsigned event, unsigned now, unsigned before);
}

using vkring::little;

TEST_CASE("flags and alignments of a split ring are the kernel's") {
  const std::array<unsigned, 8> own = {
      vkring::descriptor_next,
      vkring::descriptor_write,
      vkring::descriptor_indirect,
      vkring::suppress_notification,
      vkring::suppress_notification,
      2,
      4,
      16,
  };
  CHECK(own == uapi_ring_values);
}

TEST_CASE("each word of a split ring lies where the kernel looks for it") {
  const std::uint16_t size = GENERATE(as<std::uint16_t>{}, 1, 2, 256, 32768);
  CAPTURE(size);
  constexpr std::size_t alignment = vkring::split_ring::alignment;
  std::vector<std::byte> memory(vkring::split_ring::bytes(size) + alignment);
  void* block = memory.data();
  std::size_t room = memory.size();
  REQUIRE(std::align(alignment, vkring::split_ring::bytes(size), block, room) != nullptr);
  const auto ring = vkring::split_ring::place({static_cast<std::byte*>(block), room}, size);
  uapi_fill_ring(ring.descriptors(), &ring.avail_flags(), &ring.used_flags(), size);

  const unsigned last = size - 1U;
  const auto& descriptor = ring.descriptors()[last];
  CHECK(little(descriptor.address) == 1);
  const std::uint64_t rest = little(descriptor.rest);
  CHECK(vkring::split_descriptor::length(rest) == 2);
  CHECK(vkring::split_descriptor::flags(rest) == 3);
  CHECK(vkring::split_descriptor::next(rest) == 4);
  CHECK(little(ring.avail_flags()) == 5);
  CHECK(little(ring.avail_index()) == 6);
  CHECK(little(ring.avail_entries()[last]) == 7);
  CHECK(little(ring.used_event()) == 8);
  CHECK(little(ring.used_flags()) == 9);
  CHECK(little(ring.used_index()) == 10);
  CHECK(little(ring.used_elements()[last].id) == 11);
  CHECK(little(ring.used_elements()[last].length) == 12);
  CHECK(little(ring.avail_event()) == 13);
}

TEST_CASE("a notification is due exactly when the kernel says so") {
  constexpr std::array<unsigned, 9> positions = {0, 1, 2, 255, 32767, 32768, 65533, 65534, 65535};
  std::uint64_t different = 0;
  for (const unsigned now : positions) {
    for (const unsigned before : positions) {
      for (unsigned event = 0; event < 65536; ++event) {
        const bool own = vkring::passed(vkring::ring_index(event), vkring::ring_index(now),
                                        vkring::ring_index(before));
        different += own != (uapi_need_event(event, now, before) != 0);
      }
    }
  }
  CHECK(different == 0);
}

TEST_CASE("flags and words of a packed ring are the kernel's") {
  using vkring::packed_descriptor;
  using vkring::packed_event;
  const std::array<unsigned, 6> own = {
      packed_descriptor::avail_flag,
      packed_descriptor::used_flag,
      packed_event::enable,
      packed_event::disable,
      packed_event::at_descriptor,
      vkring::packed_position(true).word(),
  };
  CHECK(own == uapi_packed_values);
  packed_descriptor descriptor{};
  std::uint32_t event = 0;
  uapi_fill_packed(&descriptor, &event);
  CHECK(little(descriptor.address) == 1);
  CHECK(packed_descriptor::length(little(descriptor.rest)) == 2);
  CHECK(packed_descriptor::id(little(descriptor.rest)) == 3);
  CHECK(packed_descriptor::flags(little(descriptor.rest)) == 4);
  CHECK(little(descriptor.rest) == packed_descriptor::pack(2, 3, 4));
  CHECK(little(event) == packed_event::pack(5, 6));
}

TEST_CASE("a notification of a packed ring is due exactly when the kernel's driver would say so") {
  std::uint64_t different = 0;
  for (const std::uint16_t size : {std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{3},
                                   std::uint16_t{7}, std::uint16_t{8}}) {
    for (std::uint32_t at = 0; at < 2u * size; ++at) {
      const vkring::packed_position now(vkring::ring_index(at), size);
      for (std::uint32_t to = 0; to < 2u * size; ++to) {
        const vkring::packed_position event(vkring::ring_index(to), size);
        for (std::uint32_t moved = 0; moved <= size; ++moved) {
          // In the lap before, if the wrap counters differ.
          const unsigned offset = event.slot() - (event.wrap() == now.wrap() ? 0U : size);
          const bool kernel = uapi_need_event(offset & 0xffff, now.slot(),
                                              now.slot() - moved & 0xffff) != 0;
          const bool own = vkring::packed_event::wanted(
              vkring::packed_event::pack(event.word(), vkring::packed_event::at_descriptor), now,
              moved, size);
          different += own != kernel;
        }
      }
    }
  }
  CHECK(different == 0);
}
