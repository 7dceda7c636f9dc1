// SPDX-License-Identifier: BSD-3-Clause

// A frame header and a frame from anybody: parsing, checking, completing checksums and segmenting
// stay within the frame, and what is not refused comes out right.
//
// Input: one byte of choices, 24 bytes of header as they lie in a ring, the frame.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "support/packets.hpp"
#include "vkring/net/checksum.hpp"
#include "vkring/net/header.hpp"
#include "vkring/net/segment.hpp"

using namespace vkring;

namespace {

void demand(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "net_segment: %s\n", what.c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 + tunnel_header_size) return 0;
  const unsigned choices = data[0];
  const auto input = std::as_bytes(std::span(data, size)).subspan(1);
  const auto frame = input.subspan(tunnel_header_size);
  const virtio_net_hdr header = load_header(input.data(), tunnel_header_size);
  test::random_source source(choices);

  constexpr frame_offloads all{true, true, true, true, true, true, true};
  const header_fault on_rx = check_rx_header(header, frame.size(), all);
  const header_fault on_tx = check_tx_header(to_tx_header(header), frame.size(), all);
  demand(on_rx == header_fault::none || on_tx != header_fault::none,
         "a header that cannot be believed may be sent");

  test::bytes whole(frame.begin(), frame.end());
  const bool inside = complete_checksum(whole, header.csum_start, header.csum_offset);
  demand(inside == (std::size_t{header.csum_start} + header.csum_offset + 2 <= frame.size()),
         "the bounds of a checksum field");

  const test::scattered pieces(frame, 1 + choices % 8, source);
  const auto checksums =
      (choices & 8) != 0 ? segment_checksum::partial : segment_checksum::complete;
  const auto link = (choices & 16) != 0 ? link_layer::none : link_layer::ethernet;
  const std::string wrong = test::check_segmentation(header, frame, pieces.spans, checksums, link);
  demand(wrong.empty(), wrong);
  return 0;
}
