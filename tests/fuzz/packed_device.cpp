// SPDX-License-Identifier: BSD-3-Clause

// The device side of a packed ring against a driver made of fuzzer input.

#include <vkring/ring/packed.hpp>

#include "fuzz/support/device_body.hpp"

namespace vkring::test {
namespace {

class packed_hand {
 public:
  using layout = packed;

  packed_hand(const packed_ring& ring, const ring_options& options)
      : ring_(ring), size_(options.size), at_(options.start, options.size) {}

  static void allow(meddler& to, std::span<const std::byte> all, std::uint16_t size) {
    const std::size_t driver_event = packed_ring::driver_event_offset(size);
    const std::size_t device_event = packed_ring::device_event_offset(size);
    to.may_store = {{all.first(driver_event)}, {all.subspan(device_event)}};
    to.may_load = {{all.first(16u * size), 8}, {all.subspan(driver_event, 4), 4}};
  }

  // Marks the next descriptor as available, with that id.
  void offer(std::uint32_t id) {
    std::uint64_t& word = ring_.descriptors()[at_.slot()].rest;
    const std::uint64_t rest = direct::load(word);
    const int flags = (packed_descriptor::flags(rest) & 7) | at_.available();
    direct::store(word, packed_descriptor::pack(packed_descriptor::length(rest), id & 0xffff,
                                                static_cast<std::uint16_t>(flags)));
  }
  void show(std::uint32_t count) { at_.advance(count % (size_ + 1u), size_); }
  // A descriptor's second word, in the ring or in a table.
  [[nodiscard]] std::uint64_t rest(std::uint32_t length, std::uint16_t flags, std::uint16_t id,
                                   bool in_ring) const {
    const int mark = in_ring ? at_.available() : 0;
    return packed_descriptor::pack(length, id, static_cast<std::uint16_t>(flags | mark));
  }

 private:
  packed_ring ring_;
  std::uint16_t size_;
  packed_position at_;
};

}  // namespace
}  // namespace vkring::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vkring::test::fuzz_input input(data, size);
  const std::uint8_t mix = input.next();
  const vkring::ring_options options = vkring::test::options_of(mix, 1u + input.next());
  vkring::test::device_body<vkring::test::packed_hand>(input, options).run();
  return 0;
}
