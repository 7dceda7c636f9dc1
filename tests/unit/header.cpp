// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/net/header.hpp"

#include <array>
#include <bit>
#include <catch2/catch.hpp>
#include <random>
#include <set>
#include <string>

using vkring::check_rx_header;
using vkring::check_tx_header;
using vkring::frame_offloads;
using vkring::header_fault;
using vkring::load_header;
using vkring::store_header;
using vkring::to_tx_header;
using vkring::virtio_net_hdr;
namespace gso = vkring::gso;
namespace header_flag = vkring::header_flag;

extern "C" unsigned uapi_header(unsigned char* to, unsigned flags, unsigned gso_type,
                                unsigned hdr_len, unsigned gso_size, unsigned csum_start,
                                unsigned csum_offset, unsigned num_buffers);
extern "C" const unsigned uapi_header_values[];

namespace {

constexpr frame_offloads everything{true, true, true, true, true, true, true};
constexpr frame_offloads nothing{};

// TCP over IPv4, 1448 bytes in each segment.
virtio_net_hdr tso4() {
  virtio_net_hdr header;
  header.flags = header_flag::needs_csum;
  header.gso_type = gso::tcpv4;
  header.hdr_len = 66;
  header.gso_size = 1448;
  header.csum_start = 34;
  header.csum_offset = 16;
  return header;
}

virtio_net_hdr tso6() {
  virtio_net_hdr header = tso4();
  header.gso_type = gso::tcpv6;
  header.csum_start = 54;
  header.hdr_len = 86;
  return header;
}

virtio_net_hdr uso() {
  virtio_net_hdr header = tso4();
  header.gso_type = gso::udp_l4;
  header.hdr_len = 42;
  header.csum_offset = 6;
  return header;
}

// VXLAN over IPv4 around TCP over IPv4.
virtio_net_hdr tunnel() {
  virtio_net_hdr header = tso4();
  header.gso_type |= gso::udp_tunnel_ipv4;
  header.outer_th_offset = 34;
  header.inner_nh_offset = 64;
  header.csum_start = 84;
  header.hdr_len = 104;
  return header;
}

template <class Change>
virtio_net_hdr with(virtio_net_hdr header, Change change) {
  change(header);
  return header;
}

}  // namespace

TEST_CASE("header: values and layout are the kernel's") {
  const unsigned own[] = {header_flag::needs_csum,
                          header_flag::data_valid,
                          header_flag::rsc_info,
                          gso::none,
                          gso::tcpv4,
                          gso::udp,
                          gso::tcpv6,
                          gso::ecn};
  for (std::size_t i = 0; i < std::size(own); ++i) CHECK(own[i] == uapi_header_values[i]);

  if constexpr (std::endian::native == std::endian::little) {
    virtio_net_hdr header = tso4();
    header.num_buffers = 0x1234;
    std::array<std::byte, 12> ours{};
    store_header(ours.data(), ours.size(), header);
    std::array<unsigned char, 12> theirs{};
    REQUIRE(uapi_header(theirs.data(), header.flags, header.gso_type, header.hdr_len,
                        header.gso_size, header.csum_start, header.csum_offset,
                        header.num_buffers) == theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i)
      CHECK(std::to_integer<unsigned>(ours[i]) == theirs[i]);
  }
}

TEST_CASE("header: stored bytes are little-endian, and nothing is written beyond the size") {
  const virtio_net_hdr header{1, 0x24, 0x0302, 0x0504, 0x0706, 0x0908, 0x0b0a, 0x1514, 0x1716};
  const std::array<unsigned, 24> bytes{1, 0x24, 2, 3, 4, 5, 6, 7, 8,    9,    0xa,  0xb,
                                       0, 0,    0, 0, 0, 0, 0, 0, 0x14, 0x15, 0x16, 0x17};
  for (const std::size_t size : {10u, 12u, 24u}) {
    for (const std::size_t offset : {0u, 1u, 3u}) {
      CAPTURE(size, offset);
      std::array<std::byte, 32> memory;
      memory.fill(std::byte{0xee});
      store_header(memory.data() + offset, size, header);
      for (std::size_t i = 0; i < memory.size(); ++i) {
        const bool inside = i >= offset && i < offset + size;
        CHECK(std::to_integer<unsigned>(memory[i]) == (inside ? bytes[i - offset] : 0xeeu));
      }
      virtio_net_hdr expected = header;
      if (size < 12) expected.num_buffers = 0;
      if (size < 24) expected.outer_th_offset = expected.inner_nh_offset = 0;
      CHECK(load_header(memory.data() + offset, size) == expected);
    }
  }
}

TEST_CASE("header: plain is eight bytes of zero") {
  CHECK(virtio_net_hdr{}.is_plain());
  CHECK(with({}, [](auto& h) { h.num_buffers = 1; }).is_plain());
  CHECK(with({}, [](auto& h) { h.csum_offset = 16; }).is_plain());
  CHECK_FALSE(with({}, [](auto& h) { h.flags = 1; }).is_plain());
  CHECK_FALSE(with({}, [](auto& h) { h.gso_type = 1; }).is_plain());
  CHECK_FALSE(with({}, [](auto& h) { h.hdr_len = 1; }).is_plain());
  CHECK_FALSE(with({}, [](auto& h) { h.gso_size = 1; }).is_plain());
  CHECK_FALSE(with({}, [](auto& h) { h.csum_start = 0x100; }).is_plain());
}

TEST_CASE("header: what may be sent") {
  CHECK(check_tx_header({}, 14, nothing) == header_fault::none);
  CHECK(check_tx_header(tso4(), 65549, everything) == header_fault::none);
  CHECK(check_tx_header(tso6(), 65589, everything) == header_fault::none);
  CHECK(check_tx_header(uso(), 42 + 128 * 1448, everything) == header_fault::none);
  CHECK(check_tx_header(tunnel(), 9000, everything) == header_fault::none);
  CHECK(check_tx_header(with(tso4(), [](auto& h) { h.gso_type |= gso::ecn; }), 9000, everything) ==
        header_fault::none);
  CHECK(check_tx_header(with(tso4(), [](auto& h) { h.hdr_len = 0; }), 9000, everything) ==
        header_fault::none);
  // No more payload than one segment: the kernel takes it as it is.
  CHECK(check_tx_header(tso4(), 66, everything) == header_fault::none);
}

TEST_CASE("header: what must not be sent") {
  const auto expect = [](header_fault fault, const virtio_net_hdr& header, std::size_t size = 3000,
                         const frame_offloads& allowed = everything) {
    CAPTURE(name(fault));
    CHECK(name(check_tx_header(header, size, allowed)) == name(fault));
  };
  const auto without = [](bool frame_offloads::*offload) {
    frame_offloads allowed = everything;
    allowed.*offload = false;
    return allowed;
  };
  using enum header_fault;
  expect(frame_too_short, {}, 13);
  expect(frame_too_short, {}, 0);
  expect(unknown_flags, with(tso4(), [](auto& h) { h.flags |= header_flag::data_valid; }));
  expect(unknown_flags, with(tso4(), [](auto& h) { h.flags |= header_flag::rsc_info; }));
  expect(unknown_flags, with(tso4(), [](auto& h) { h.flags |= 0x40; }));
  expect(unknown_flags, with({}, [](auto& h) { h.flags = header_flag::udp_tunnel_csum; }));
  expect(unknown_flags, with(tso4(), [](auto& h) { h.flags |= header_flag::udp_tunnel_csum; }));

  const auto partial = [](std::uint16_t start, std::uint16_t offset) {
    virtio_net_hdr header;
    header.flags = header_flag::needs_csum;
    header.csum_start = start;
    header.csum_offset = offset;
    return header;
  };
  expect(none, partial(34, 16), 52);
  expect(csum_not_negotiated, partial(34, 16), 3000, without(&frame_offloads::csum));
  expect(csum_start_beyond_end, partial(34, 16), 51);
  expect(csum_start_beyond_end, partial(2999, 0));
  expect(none, partial(2998, 0));
  // A worker of the kernel that adds these up in 16 bits sees a sum within the frame.
  expect(csum_start_beyond_end, partial(0xfff0, 0x20));
  expect(csum_start_beyond_end, partial(0xffff, 0xffff));
  expect(csum_start_too_low, partial(19, 16));
  expect(none, partial(20, 16));
  expect(csum_start_too_low, with(tso6(), [](auto& h) { h.csum_start = 39; }));

  for (const unsigned type : {2u, 6u, 7u, 8u, 0x10u, 0x80u, 0x20u, 0x40u, 0x60u, 0x85u, 0x83u}) {
    CAPTURE(type);
    const auto header =
        with(uso(), [type](auto& h) { h.gso_type = static_cast<std::uint8_t>(type); });
    expect(type == 0x83 ? gso_not_negotiated : unknown_gso_type, header);
  }
  expect(unknown_gso_type, with(tunnel(), [](auto& h) { h.gso_type = 0x61; }));
  expect(gso_not_negotiated, with(uso(), [](auto& h) { h.gso_type = gso::udp; }));
  expect(gso_not_negotiated, tso4(), 3000, without(&frame_offloads::tso4));
  expect(gso_not_negotiated, tso6(), 3000, without(&frame_offloads::tso6));
  expect(gso_not_negotiated, uso(), 3000, without(&frame_offloads::uso));
  expect(ecn_not_negotiated, with(tso4(), [](auto& h) { h.gso_type |= gso::ecn; }), 3000,
         without(&frame_offloads::ecn));
  expect(gso_without_csum, with(tso4(), [](auto& h) { h.flags = 0; }));
  expect(gso_size_zero, with(tso4(), [](auto& h) { h.gso_size = 0; }));
  expect(gso_size_reserved, with(tso4(), [](auto& h) { h.gso_size = 0xffff; }));
  expect(vkring::header_fault::csum_offset, with(tso4(), [](auto& h) { h.csum_offset = 6; }));
  expect(vkring::header_fault::csum_offset, with(uso(), [](auto& h) { h.csum_offset = 16; }));
  expect(gso_header_beyond_end, with(tso4(), [](auto& h) { h.hdr_len = 0; }), 53);
  expect(too_many_segments, uso(), 42 + 128 * 1448 + 1);
  expect(hdr_len_beyond_end, tso4(), 65);
  expect(hdr_len_beyond_end, with({}, [](auto& h) { h.hdr_len = 61; }), 60);
  expect(hdr_len_too_short, with({}, [](auto& h) { h.hdr_len = 13; }), 60);

  expect(tunnel_not_negotiated, tunnel(), 3000, without(&frame_offloads::udp_tunnel));
  const auto outer_csum = with(tunnel(), [](auto& h) { h.flags |= header_flag::udp_tunnel_csum; });
  expect(none, outer_csum);
  expect(tunnel_not_negotiated, outer_csum, 3000, without(&frame_offloads::udp_tunnel_csum));
  expect(tunnel_offsets, with(tunnel(), [](auto& h) { h.outer_th_offset = 33; }));
  expect(tunnel_offsets, with(tunnel(), [](auto& h) { h.inner_nh_offset = 41; }));
  expect(tunnel_offsets, with(tunnel(), [](auto& h) { h.csum_start = 83; }));
  expect(tunnel_offsets, with(tunnel(), [](auto& h) { h.gso_type = gso::tcpv4 | 0x40; }));
  expect(tunnel_offsets, with(tunnel(), [](auto& h) { h.gso_type = gso::tcpv6 | 0x20; }));
  expect(too_many_segments,
         with(tunnel(),
              [](auto& h) {
                h.gso_type = gso::udp_l4 | gso::udp_tunnel_ipv4;
                h.csum_offset = 6;
                h.gso_size = 1;
              }),
         84 + 8 + 129);
}

TEST_CASE("header: without an Ethernet header everything may start 14 bytes earlier") {
  constexpr auto tun = vkring::link_layer::none;
  const auto expect = [](header_fault fault, const virtio_net_hdr& header, std::size_t size) {
    CAPTURE(name(fault), size);
    CHECK(name(check_tx_header(header, size, everything, tun)) == name(fault));
  };
  const auto earlier = [](virtio_net_hdr header) {
    header.csum_start -= 14;
    header.hdr_len -= 14;
    return header;
  };
  using enum header_fault;
  expect(frame_too_short, {}, 19);
  expect(none, {}, 20);
  expect(none, with({}, [](auto& h) { h.hdr_len = 13; }), 60);
  expect(none, earlier(tso4()), 65535);
  expect(none, earlier(tso6()), 65575);
  expect(none, earlier(uso()), 28 + 128 * 1448);
  expect(too_many_segments, earlier(uso()), 28 + 128 * 1448 + 1);
  expect(csum_start_too_low, with(earlier(tso4()), [](auto& h) { h.csum_start = 19; }), 3000);
  expect(csum_start_too_low, with(earlier(tso6()), [](auto& h) { h.csum_start = 39; }), 3000);
  expect(gso_header_beyond_end, with(earlier(tso4()), [](auto& h) { h.hdr_len = 0; }), 39);
}

TEST_CASE("header: what a receiver believes") {
  // The kernel says DATA_VALID whether or not checksums were negotiated, and fills num_buffers.
  CHECK(check_rx_header(with({},
                             [](auto& h) {
                               h.flags = header_flag::data_valid;
                               h.num_buffers = 3;
                             }),
                        60, nothing) == header_fault::none);
  CHECK(check_rx_header(tso4(), 3000, everything) == header_fault::none);
  CHECK(check_rx_header(tunnel(), 3000, everything) == header_fault::none);
  // hdr_len is without meaning where there is no GSO.
  CHECK(check_rx_header(with({}, [](auto& h) { h.hdr_len = 9000; }), 60, nothing) ==
        header_fault::none);

  CHECK(check_rx_header(tso4(), 3000, nothing) == header_fault::csum_not_negotiated);
  CHECK(check_rx_header(tso4(), 3000, {.csum = true}) == header_fault::gso_not_negotiated);
  CHECK(check_rx_header(tso4(), 51, everything) == header_fault::csum_start_beyond_end);
  CHECK(check_rx_header(tso4(), 65, everything) == header_fault::hdr_len_beyond_end);
  CHECK(check_rx_header(with(tso4(), [](auto& h) { h.flags = header_flag::data_valid; }), 3000,
                        everything) == header_fault::gso_without_csum);
  CHECK(check_rx_header(with(tso4(), [](auto& h) { h.gso_size = 0; }), 3000, everything) ==
        header_fault::gso_size_zero);
  CHECK(check_rx_header(with({}, [](auto& h) { h.gso_type = 0x7f; }), 3000, everything) ==
        header_fault::unknown_gso_type);
}

TEST_CASE("header: what goes on with a frame that is forwarded") {
  auto received = tso4();
  received.num_buffers = 4;
  CHECK(to_tx_header(received) == tso4());
  received = tunnel();
  received.flags |= header_flag::udp_tunnel_csum;
  CHECK(to_tx_header(received) == received);

  virtio_net_hdr verified;
  verified.flags = header_flag::data_valid;
  verified.csum_start = 34;
  verified.csum_offset = 16;
  verified.hdr_len = 200;
  verified.num_buffers = 1;
  verified.outer_th_offset = 34;
  CHECK(to_tx_header(verified) == virtio_net_hdr{});
  verified.flags = header_flag::rsc_info;
  CHECK(to_tx_header(verified) == virtio_net_hdr{});
  verified.flags = header_flag::needs_csum | header_flag::data_valid;
  CHECK(to_tx_header(verified).flags == header_flag::needs_csum);
  CHECK(to_tx_header(verified).csum_start == 34);
  CHECK(to_tx_header(verified).csum_offset == 16);
}

TEST_CASE("header: what was received by the rules may be sent on, whatever it is") {
  std::mt19937 source(1);
  std::set<header_fault> met;
  for (int i = 0; i < 200'000; ++i) {
    virtio_net_hdr header = i % 3 == 0 ? tso4() : i % 3 == 1 ? uso() : tunnel();
    const auto random = [&source] { return static_cast<std::uint16_t>(source()); };
    switch (source() % 8) {
      case 0:
        header.flags = static_cast<std::uint8_t>(random());
        break;
      case 1:
        header.gso_type = static_cast<std::uint8_t>(random());
        break;
      case 2:
        header.hdr_len = random();
        break;
      case 3:
        header.gso_size = static_cast<std::uint16_t>(random() % 4);
        break;
      case 4:
        header.csum_start = random();
        break;
      case 5:
        header.csum_offset = random() % 64;
        break;
      case 6:
        header.outer_th_offset = random() % 128;
        break;
      default:
        header.gso_type &= 7;
        break;
    }
    const std::size_t size = source() % 4000;
    met.insert(check_tx_header(header, size, everything));
    const auto received = check_rx_header(header, size, everything);
    const auto sent = check_tx_header(to_tx_header(header), size, everything);
    // What is refused in one direction only: what the kernel demands beyond virtio.
    const bool kernel_only =
        sent == header_fault::frame_too_short || sent == header_fault::csum_start_too_low ||
        sent == header_fault::too_many_segments || sent == header_fault::hdr_len_too_short;
    CAPTURE(i, name(received), name(sent));
    if (received == header_fault::none)
      REQUIRE((sent == header_fault::none || kernel_only));
    else
      REQUIRE(sent != header_fault::none);
  }
  CHECK(met.size() >= 14);
}

TEST_CASE("header: every fault has a name of its own") {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < vkring::header_fault_count; ++i)
    names.insert(name(static_cast<header_fault>(i)));
  CHECK(names.size() == vkring::header_fault_count);
  CHECK_FALSE(names.contains("unknown"));
  CHECK(name(static_cast<header_fault>(vkring::header_fault_count)) == "unknown");
}
