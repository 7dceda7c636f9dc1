// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/worker/vhost_diagnosis.hpp"

#include <sys/mman.h>

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>

#include "support/skip.hpp"
#include "vkring/memory/region.hpp"
#include "vkring/net/header.hpp"

using namespace vkring;

namespace {

struct bed {
  static constexpr std::uint16_t size = 8;
  region memory = region::make(split_ring::bytes(size) + 4096).value();
  split_ring ring = split_ring::place(memory.bytes(), size);
  std::byte* buffers = memory.bytes().data() + split_ring::bytes(size);
  memory_table table;
  std::uint64_t at = table.add({buffers, 4096}).value();
  ring_options options;

  explicit bed(std::uint16_t start = 0) {
    options.size = size;
    direct::store(ring.avail_index(), start);
    direct::store(ring.used_index(), start);
  }
  void describe(std::uint16_t at_index, std::uint64_t address, std::uint32_t length,
                std::uint16_t flags = 0, std::uint16_t next = 0) {
    direct::store(ring.descriptors()[at_index].address, address);
    direct::store(ring.descriptors()[at_index].rest,
                  split_descriptor::pack(length, flags, next));
  }
  void offer(std::uint16_t head, std::uint64_t address, std::uint32_t length,
             std::uint16_t flags = 0, std::uint16_t next = 0) {
    describe(head, address, length, flags, next);
    const std::uint16_t index = direct::load(ring.avail_index());
    direct::store(ring.avail_entries()[index % size], head);
    direct::store(ring.avail_index(), static_cast<std::uint16_t>(index + 1));
  }
  [[nodiscard]] ring_breach found(vhost_ring which = vhost_ring::tx) const {
    return diagnose<split>(ring, options, table, which);
  }
};

}  // namespace

TEST_CASE("diagnose: the first chain that is wrong, wherever the ring stands") {
  for (const std::uint16_t start : {std::uint16_t{0}, std::uint16_t{65533}}) {
    bed it(start);
    CHECK(it.found().fault == ring_fault::device_error);  // of which the ring shows nothing
    CHECK(it.found().position == start);
    it.offer(1, it.at, 100);
    it.offer(5, it.at, 4096);
    CHECK(it.found().fault == ring_fault::device_error);
    CHECK(head_of(it.found()) == 1);  // the oldest
    it.offer(6, it.at + 1, 4096);
    CHECK(it.found().fault == ring_fault::address_refused);
    CHECK(it.found().position == 6);
  }
}

TEST_CASE("diagnose: what vhost-net objects to and the ring itself does not forbid") {
  bed tx;
  tx.offer(2, tx.at, 100, descriptor_write);
  CHECK(tx.found().fault == ring_fault::chain_direction);
  CHECK(tx.found().position == 2);
  CHECK(tx.found(vhost_ring::rx).fault == ring_fault::device_error);
  bed rx;
  rx.offer(3, rx.at, 100);
  CHECK(rx.found(vhost_ring::rx).fault == ring_fault::chain_direction);
  CHECK(rx.found(vhost_ring::tx).fault == ring_fault::device_error);
  bed empty;
  empty.offer(4, empty.at, 0);
  CHECK(empty.found().fault == ring_fault::buffer_too_small);
  CHECK(empty.found().position == 4);
}

TEST_CASE("diagnose: a checksum beyond the end of the frame") {
  char from = 'a';
  char to = 0;
  if (posix::read_memory(&to, &from, 1) != 1) return test::skip("no process_vm_readv");
  const auto found = [](const virtio_net_hdr& header, std::uint32_t bytes, std::uint32_t first) {
    bed it;
    store_header(it.buffers, header_size, header);
    it.offer(2, it.at, first, descriptor_next, 3);
    it.describe(3, it.at + first, bytes - first);
    return it.found();
  };
  const virtio_net_hdr wrong{.flags = header_flag::needs_csum, .csum_start = 55, .csum_offset = 16};
  for (const std::uint32_t first : {12u, 1u, 9u, 10u, 40u}) {
    CAPTURE(first);
    CHECK(found(wrong, 72, first).fault == ring_fault::checksum_beyond_end);
    CHECK(found(wrong, 72, first).position == 2);
    CHECK(found(wrong, 73, first).fault == ring_fault::device_error);
  }
  virtio_net_hdr other = wrong;
  other.hdr_len = 73;
  CHECK(found(other, 72, 12).fault == ring_fault::device_error);
  other.hdr_len = 72;
  CHECK(found(other, 72, 12).fault == ring_fault::checksum_beyond_end);
  other.flags = 0;
  CHECK(found(other, 72, 12).fault == ring_fault::device_error);
  other = wrong;
  other.csum_start = other.csum_offset = 65535;
  CHECK(found(other, 72, 12).fault == ring_fault::checksum_beyond_end);
  // Memory that cannot be read tells nothing, and is not touched.
  bed it;
  const auto page = region::make(4096).value();
  store_header(page.bytes().data(), header_size, wrong);
  it.offer(2, it.table.add(page.bytes()).value(), 72);
  CHECK(it.found().fault == ring_fault::checksum_beyond_end);
  REQUIRE(::mprotect(page.bytes().data(), 4096, PROT_NONE) == 0);
  CHECK(it.found().fault == ring_fault::device_error);
}

TEST_CASE("diagnose: broken indices and heads") {
  bed it;
  it.offer(1, it.at, 100);
  direct::store(it.ring.avail_entries()[0], bed::size);
  CHECK(it.found().fault == ring_fault::head_range);
  bed jump;
  direct::store(jump.ring.avail_index(), std::uint16_t{9});
  CHECK(jump.found().fault == ring_fault::avail_index_jump);
}
