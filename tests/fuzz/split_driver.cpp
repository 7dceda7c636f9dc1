// SPDX-License-Identifier: BSD-3-Clause

// The driver side of a split ring against a device made of fuzzer input.

#include <vkring/ring/split.hpp>

#include "fuzz/support/driver_body.hpp"

namespace vkring::test {
namespace {

class split_hand {
 public:
  using layout = split;

  split_hand(const split_ring& ring, const ring_options& options)
      : ring_(ring), mask_(static_cast<std::uint16_t>(options.size - 1)), at_(options.start) {}

  static void allow(meddler& to, std::span<const std::byte> all, std::uint16_t size) {
    const std::size_t used = split_ring::used_offset(size);
    to.may_store = {{all.first(used)}};
    to.may_load = {{all.subspan(used)}};
  }

  // The head that was made available that far ahead.
  [[nodiscard]] std::uint32_t head_ahead(std::uint8_t ahead) const {
    return direct::load(ring_.avail_entries()[(at_ + ahead).slot(mask_)]);
  }
  void use(std::uint32_t id, std::uint32_t length) {
    used_element& element = ring_.used_elements()[at_.slot(mask_)];
    direct::store(element.id, id);
    direct::store(element.length, length);
  }
  void show(std::uint32_t count) {
    at_ += count;
    direct::publish_used(ring_.used_index(), at_.value());
  }
  void set_event(fuzz_input& input) {
    direct::store(ring_.avail_event(), input.next<std::uint16_t>());
    direct::store(ring_.used_flags(), input.next<std::uint16_t>());
  }

 private:
  split_ring ring_;
  std::uint16_t mask_;
  ring_index at_;
};

}  // namespace
}  // namespace vkring::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vkring::test::fuzz_input input(data, size);
  const std::uint8_t mix = input.next();
  const vkring::ring_options options = vkring::test::options_of(mix, 1u << input.below(9));
  vkring::test::driver_body<vkring::test::split_hand>(input, options,
                                                      static_cast<std::uint16_t>(mix >> 4 & 7))
      .run();
  return 0;
}
