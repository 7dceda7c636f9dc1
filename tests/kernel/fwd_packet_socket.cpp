// SPDX-License-Identifier: BSD-3-Clause

// The packet socket of vkring-fwd on a TAP, whose other end is this test: what is written to the TAP
// is what the kernel receives, and what the kernel sends is read from it. A program is no library, so
// its source is part of this test.
#include "../../examples/vkring-fwd/packet_socket.cpp"

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>
#include <vkring/kernel/link.hpp>
#include <vkring/kernel/tap.hpp>
#include <vkring/net/checksum.hpp>

#include "support/in_pieces.hpp"
#include "support/packets.hpp"
#include "support/private_netns.hpp"
#include "support/skip.hpp"

using namespace vkring;
using test::bytes;

namespace {

constexpr std::uint32_t buffers = 4096;

struct bench {
  tap interface;
  net_link link;
  std::shared_ptr<buffer_pool> pool;
  fwd::packet_socket socket;
};

// In a namespace of its own; nothing where that is not allowed.
std::unique_ptr<bench> make(std::uint32_t buffer_size, bool qdisc_bypass = false) {
  const auto ns = test::private_netns();
  if (!ns) return nullptr;
  auto pool = buffer_pool::make({.buffers = buffers, .buffer_size = buffer_size}).value();
  return ns
      ->run([&]() -> result<std::unique_ptr<bench>> {
        auto interface = tap::open({.name = "t0"}).value();
        auto its_link = net_link::open("t0").value();
        its_link.set_up(true).value();
        auto socket = fwd::packet_socket::open("t0", its_link.index(), qdisc_bypass, pool).value();
        return std::unique_ptr<bench>(
            new bench{std::move(interface), std::move(its_link), pool, std::move(socket)});
      })
      .value();
}

// As if it had come over a wire.
void arrive(bench& at, const virtio_net_hdr& header, const bytes& frame) {
  bytes whole(header_size);
  store_header(whole.data(), header_size, header);
  whole.insert(whole.end(), frame.begin(), frame.end());
  REQUIRE(::write(at.interface.fd(), whole.data(), whole.size()) ==
          static_cast<ssize_t>(whole.size()));
}
// The next frame, which has to be there within ten seconds.
frame receive(bench& at) {
  REQUIRE(test::wait_readable(at.socket.fd()));
  std::array<frame, 4> frames;
  REQUIRE(at.socket.receive(frames) == 1);
  return std::move(frames[0]);
}
bytes content_of(const frame& f) {
  bytes all;
  f.for_each_segment(
      [&](std::span<std::byte> part) { all.insert(all.end(), part.begin(), part.end()); });
  return all;
}
// A frame in as many buffers as it takes.
frame holding(bench& at, std::span<const std::byte> content, const virtio_net_hdr& header = {}) {
  frame whole = test::in_pieces(at.socket, content);
  REQUIRE(whole);
  whole.set_header(header);
  return whole;
}
// What the kernel sends; frames of its own making are passed over.
std::pair<virtio_net_hdr, bytes> sent(bench& at, const bytes& like) {
  for (;;) {
    REQUIRE(test::wait_readable(at.interface.fd()));
    bytes whole(70000);
    const ssize_t got = ::read(at.interface.fd(), whole.data(), whole.size());
    REQUIRE(got >= 26);
    whole.resize(static_cast<std::size_t>(got));
    if (std::memcmp(whole.data() + header_size, like.data(), 12) != 0) continue;
    return {load_header(whole.data(), header_size),
            bytes(whole.begin() + header_size, whole.end())};
  }
}

virtio_net_hdr tso(const test::built_packet& packet) {
  virtio_net_hdr header;
  header.flags = header_flag::needs_csum;
  header.gso_type = gso::tcpv4;
  header.gso_size = 1000;
  header.hdr_len = static_cast<std::uint16_t>(packet.payload);
  header.csum_start = static_cast<std::uint16_t>(packet.l4);
  header.csum_offset = 16;
  return header;
}
test::built_packet tcp_packet(std::size_t payload, unsigned tags = 0) {
  test::random_source random(7);
  test::packet_recipe recipe;
  recipe.payload = payload;
  recipe.tags = tags;
  return test::build(recipe, random);
}

}  // namespace

TEST_CASE(
    "fwd packet socket: frames come in as they are, in one buffer or several, tags included") {
  const std::uint32_t buffer_size = GENERATE(256u, 2048u);
  const auto at = make(buffer_size);
  if (!at) return test::skip("may not make network namespaces");
  for (const unsigned tags : {0u, 1u, 2u}) {
    for (const std::size_t payload : {6u, 200u, 256u, 1000u, 1400u}) {
      CAPTURE(buffer_size, tags, payload);
      const bytes content = tcp_packet(payload, tags).frame;
      arrive(*at, {}, content);
      const frame f = receive(*at);
      CHECK(content_of(f) == content);
      CHECK((f.header().flags & header_flag::needs_csum) == 0);
    }
  }
  CHECK(at->socket.rx().packets.value() == 15);
  CHECK(at->socket.take_kernel_drops() == 0);
}

TEST_CASE("fwd packet socket: offloads cross on the way in, moved behind a tag that is put back") {
  const std::uint32_t buffer_size = GENERATE(256u, 2048u);
  const unsigned tags = GENERATE(0u, 1u);
  const auto at = make(buffer_size);
  if (!at) return test::skip("may not make network namespaces");
  const auto packet = tcp_packet(20000, tags);
  arrive(*at, tso(packet), packet.frame);
  const frame f = receive(*at);
  CHECK(content_of(f) == packet.frame);
  CHECK(f.header().flags == header_flag::needs_csum);
  CHECK(f.header().gso_type == gso::tcpv4);
  CHECK(f.header().gso_size == 1000);
  CHECK(f.header().csum_start == packet.l4);
  CHECK(f.header().csum_offset == 16);
  CHECK(check_rx_header(f.header(), f.size(), at->socket.may_receive()) == header_fault::none);
}

TEST_CASE("fwd packet socket: bursts come in with as many buffers as there are") {
  const auto at = make(2048);
  if (!at) return test::skip("may not make network namespaces");
  const bytes content = tcp_packet(300).frame;
  for (int i = 0; i < 100; ++i) arrive(*at, {}, content);
  // Nothing is lost while the pool is empty.
  std::vector<frame> all(100);
  std::vector<frame> hoard(buffers);
  const std::size_t hoarded = [&] {
    std::size_t n = 0;
    while (const std::size_t some = at->socket.allocate(std::span(hoard).subspan(n))) n += some;
    return n;
  }();
  REQUIRE(hoarded > 0);
  std::size_t got = 0;
  while (at->socket.has_buffers() && got < 100) {
    const std::size_t some = at->socket.receive(std::span(all).subspan(got));
    if (some == 0) break;
    got += some;
  }
  CHECK_FALSE(at->socket.has_buffers());
  hoard.clear();
  CHECK(at->socket.has_buffers());
  while (got < 100) {
    REQUIRE(test::wait_readable(at->socket.fd()));
    got += at->socket.receive(std::span(all).subspan(got));
  }
  for (const frame& each : all) CHECK(content_of(each) == content);
}

TEST_CASE("fwd packet socket: frames go out as they are, their offloads left to the interface") {
  const std::uint32_t buffer_size = GENERATE(256u, 2048u);
  const bool taken = GENERATE(false, true);
  const auto at = make(buffer_size);
  if (!at) return test::skip("may not make network namespaces");
  if (taken) at->interface.set_offloads(tun_offload::csum | tun_offload::tso4).value();
  const auto packet = tcp_packet(1200, 1);
  const auto large = tcp_packet(20000);
  std::array<frame, 3> frames = {holding(*at, packet.frame), holding(*at, large.frame, tso(large)),
                                 holding(*at, packet.frame)};
  REQUIRE(at->socket.send(frames) == 3);
  CHECK(sent(*at, packet.frame).second == packet.frame);
  if (taken) {
    const auto [header, content] = sent(*at, large.frame);
    CHECK(content == large.frame);
    CHECK(header.gso_type == gso::tcpv4);
    CHECK(header.gso_size == 1000);
  } else {
    for (int i = 0; i < 20; ++i) {
      const auto [header, content] = sent(*at, large.frame);
      CHECK(header.gso_type == gso::none);
      CHECK(content.size() == large.payload + 1000);
    }
  }
  CHECK(sent(*at, packet.frame).second == packet.frame);
  CHECK(at->socket.tx().packets.value() == 3);
  CHECK(at->socket.tx().bytes.value() == 2 * packet.frame.size() + large.frame.size());
  for (const frame& each : frames) CHECK_FALSE(each);
}

TEST_CASE("fwd packet socket: past the queueing discipline, nothing is left to be segmented") {
  const auto at = make(2048, true);
  if (!at) return test::skip("may not make network namespaces");
  CHECK(at->socket.may_send() == frame_offloads{.csum = true});
  CHECK(at->socket.may_receive().tso4);
  const auto packet = tcp_packet(1000);
  virtio_net_hdr partial = tso(packet);
  partial.gso_type = gso::none;
  partial.gso_size = partial.hdr_len = 0;
  std::array<frame, 2> frames = {holding(*at, packet.frame, tso(packet)),
                                 holding(*at, packet.frame, partial)};
  REQUIRE(at->socket.send(frames) == 2);
  CHECK(at->socket.tx().header_drops.dropped() == 1);
  bytes whole = packet.frame;
  REQUIRE(complete_checksum(whole, packet.l4, 16));
  CHECK(sent(*at, packet.frame).second == whole);
}

TEST_CASE("fwd packet socket: what cannot be sent is dropped by name, and the rest goes on") {
  const auto at = make(2048);
  if (!at) return test::skip("may not make network namespaces");
  const auto packet = tcp_packet(100);
  const auto drops = [&](std::string_view reason) {
    std::vector<drop_count> all = snapshot(at->socket.tx().header_drops).drops;
    at->socket.tx().losses.list(all);
    for (const drop_count& each : all) {
      if (each.reason == reason) return each.frames;
    }
    return std::uint64_t{0};
  };
  virtio_net_hdr wrong = tso(packet);
  wrong.gso_size = 0;
  std::array<frame, 4> frames = {holding(*at, packet.frame), holding(*at, bytes(3000)),
                                 holding(*at, packet.frame, wrong), holding(*at, packet.frame)};
  REQUIRE(at->socket.send(frames) == 4);
  CHECK(at->socket.tx().packets.value() == 2);
  CHECK(drops(name(header_fault::gso_size_zero)) == 1);
  CHECK(drops("too_long") == 1);
  CHECK_FALSE(at->socket.gone());

  at->link.set_up(false).value();
  frame late = holding(*at, packet.frame);
  CHECK(at->socket.send(std::span(&late, 1)) == 1);
  CHECK(drops("interface_down") == 1);
  CHECK_FALSE(at->socket.gone());
  std::array<frame, 1> none;
  CHECK(at->socket.receive(none) == 0);

  at->link.set_up(true).value();
  frame again = holding(*at, packet.frame);
  CHECK(at->socket.send(std::span(&again, 1)) == 1);
  CHECK(at->socket.tx().packets.value() == 3);

  at->link.remove().value();
  CHECK(at->socket.gone());
  frame lost = holding(*at, packet.frame);
  CHECK(at->socket.send(std::span(&lost, 1)) == 1);
  CHECK(drops("interface_down") == 2);
}

TEST_CASE("fwd packet socket: every buffer goes back to the pool") {
  const auto ns = test::private_netns();
  if (!ns) return test::skip("may not make network namespaces");
  auto at = make(2048);
  const auto pool = at->pool;
  CHECK(at->socket.has_buffers());
  arrive(*at, {}, tcp_packet(300).frame);
  (void)receive(*at);
  CHECK(pool->available() < buffers);
  at.reset();
  CHECK(pool->available() == buffers);
}
