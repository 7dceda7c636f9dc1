// SPDX-License-Identifier: BSD-3-Clause

// The device side of a split ring against a driver made of fuzzer input.

#include <vkring/ring/split.hpp>

#include "fuzz/support/device_body.hpp"

namespace vkring::test {
namespace {

class split_hand {
 public:
  using layout = split;

  split_hand(const split_ring& ring, const ring_options& options)
      : ring_(ring), mask_(static_cast<std::uint16_t>(options.size - 1)), at_(options.start) {
    direct::publish_avail(ring_.avail_index(), at_.value());
    direct::publish_used(ring_.used_index(), at_.value());
  }

  static void allow(meddler& to, std::span<const std::byte> all, std::uint16_t size) {
    to.may_store = {{all.subspan(split_ring::used_offset(size))}};
    to.may_load = {{all.first(16u * size), 8},
                   {all.subspan(split_ring::avail_offset(size), 6u + 2u * size), 2}};
  }

  void offer(std::uint32_t head) {
    direct::store(ring_.avail_entries()[at_.slot(mask_)], static_cast<std::uint16_t>(head));
  }
  void show(std::uint32_t count) {
    at_ += count;
    direct::publish_avail(ring_.avail_index(), at_.value());
  }
  // A descriptor's second word, in the ring or in a table.
  [[nodiscard]] static std::uint64_t rest(std::uint32_t length, std::uint16_t flags,
                                          std::uint16_t next, bool) {
    return split_descriptor::pack(length, flags, next);
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
  vkring::test::device_body<vkring::test::split_hand>(input, options).run();
  return 0;
}
