// SPDX-License-Identifier: BSD-3-Clause

// The driver side of a packed ring against a device made of fuzzer input.

#include <vkring/ring/packed.hpp>

#include "fuzz/support/driver_body.hpp"

namespace vkring::test {
namespace {

class packed_hand {
 public:
  using layout = packed;

  packed_hand(const packed_ring& ring, const ring_options& options)
      : ring_(ring), size_(options.size), at_(options.start, options.size) {}

  // The driver reads the descriptors that it wrote: the device overwrites those that it uses.
  static void allow(meddler& to, std::span<const std::byte> all, std::uint16_t size) {
    const std::size_t device_event = packed_ring::device_event_offset(size);
    to.may_store = {{all.first(device_event)}, {all.subspan(device_event)}};
    to.may_load = {{all.first(16u * size), 8}, {all.subspan(device_event), 4}};
  }

  // The id of the descriptor that far ahead.
  [[nodiscard]] std::uint32_t head_ahead(std::uint8_t ahead) const {
    return packed_descriptor::id(
        direct::load(ring_.descriptors()[(at_.slot() + ahead) % size_].rest));
  }
  void use(std::uint32_t id, std::uint32_t length) {
    const int write = (length & 1) != 0 ? descriptor_write : 0;
    direct::store(ring_.descriptors()[at_.slot()].rest,
                  packed_descriptor::pack(length, id & 0xffff,
                                          static_cast<std::uint16_t>(at_.used() | write)));
  }
  void show(std::uint32_t count) { at_.advance(count % (size_ + 1u), size_); }
  void set_event(fuzz_input& input) {
    direct::store(ring_.device_event(), input.next<std::uint32_t>());
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
  vkring::test::driver_body<vkring::test::packed_hand>(input, options,
                                                       static_cast<std::uint16_t>(mix >> 4 & 7))
      .run();
  return 0;
}
