// SPDX-License-Identifier: BSD-3-Clause

// What vkring-fwd does to frames: finishing them in software, answering them, making them up. A
// program is no library, so its sources are part of this test.
#include "../../examples/vkring-fwd/echo.cpp"
#include "../../examples/vkring-fwd/finisher.cpp"
#include "../../examples/vkring-fwd/traffic.cpp"

#include <array>
#include <catch2/catch.hpp>
#include <cstring>

#include <vector>

#include "support/in_pieces.hpp"
#include "support/packets.hpp"

using namespace vkring;
using fwd::finish;
using test::bytes;

namespace {

struct pool_of {
  std::shared_ptr<buffer_pool> pool;

  explicit pool_of(std::uint32_t buffers = 256, std::uint32_t size = 2048)
      : pool(buffer_pool::make({.buffers = buffers, .buffer_size = size}).value()) {}

  std::size_t allocate(std::span<frame> into) const {
    std::vector<buffer_handle> handles(into.size());
    const std::size_t got = pool->take(handles);
    for (std::size_t i = 0; i < got; ++i) into[i] = frame(*pool, handles[i]);
    return got;
  }
  // A frame with that content, in as many buffers as it takes.
  [[nodiscard]] frame holding(std::span<const std::byte> content) const {
    frame whole = test::in_pieces(*this, content);
    REQUIRE(whole);
    return whole;
  }
};

bytes content_of(const frame& f) {
  bytes all;
  f.for_each_segment(
      [&](std::span<std::byte> part) { all.insert(all.end(), part.begin(), part.end()); });
  return all;
}

virtio_net_hdr gso_header(const test::built_packet& packet, std::uint8_t type,
                          std::uint16_t gso_size, bool tcp) {
  virtio_net_hdr header;
  header.flags = header_flag::needs_csum;
  header.gso_type = type;
  header.gso_size = gso_size;
  header.hdr_len = static_cast<std::uint16_t>(packet.payload);
  header.csum_start = static_cast<std::uint16_t>(packet.l4);
  header.csum_offset = tcp ? 16 : 6;
  return header;
}

std::uint16_t l4_residue(const bytes& f, const test::built_packet& like, bool v6, bool tcp) {
  bytes sum = test::pseudo_header_bytes(f, like.ip, v6, tcp ? 6 : 17, f.size() - like.l4);
  sum.insert(sum.end(), f.begin() + static_cast<std::ptrdiff_t>(like.l4), f.end());
  return test::naive_checksum(sum);
}

frame_offloads everything() { return {true, true, true, true, true, true, true}; }

}  // namespace

TEST_CASE("fwd finisher: what is missing") {
  const auto header = [](std::uint8_t flags, std::uint8_t type) {
    virtio_net_hdr made;
    made.flags = flags;
    made.gso_type = type;
    return made;
  };
  constexpr std::uint8_t csum = header_flag::needs_csum;
  frame_offloads allowed;
  CHECK(fwd::missing(header(0, 0), allowed) == finish::nothing);
  CHECK(fwd::missing(header(csum, 0), allowed) == finish::checksum);
  allowed.tso4 = true;
  CHECK(fwd::missing(header(csum, gso::tcpv4), allowed) == finish::segmentation);  // without csum
  allowed.csum = true;
  CHECK(fwd::missing(header(csum, 0), allowed) == finish::nothing);
  CHECK(fwd::missing(header(csum, gso::tcpv4), allowed) == finish::nothing);
  CHECK(fwd::missing(header(csum, gso::tcpv6), allowed) == finish::segmentation);
  CHECK(fwd::missing(header(csum, gso::udp_l4), allowed) == finish::segmentation);
  CHECK(fwd::missing(header(csum, gso::tcpv4 | gso::ecn), allowed) == finish::segmentation);
  CHECK(fwd::missing(header(csum, gso::tcpv4 | gso::udp_tunnel_ipv4), allowed) ==
        finish::segmentation);
  CHECK(fwd::missing(header(csum, gso::udp), everything()) == finish::segmentation);
  for (const std::uint8_t type : {gso::tcpv4, gso::tcpv6, gso::udp_l4}) {
    CHECK(fwd::missing(header(csum, type), everything()) == finish::nothing);
  }
  CHECK(fwd::covers(everything(), allowed));
  CHECK(fwd::covers(allowed, allowed));
  CHECK_FALSE(fwd::covers(allowed, everything()));
}

TEST_CASE("fwd finisher: a partial checksum is completed in place, over several buffers") {
  const std::uint32_t buffer_size = GENERATE(64u, 2048u);
  const pool_of pool(256, buffer_size);
  test::random_source random(1);
  test::packet_recipe recipe;
  recipe.tcp = false;
  recipe.payload = 777;
  const auto packet = test::build(recipe, random);
  frame f = pool.holding(packet.frame);
  f.set_header(gso_header(packet, gso::none, 0, false));

  fwd::finisher finisher{frame_offloads{}};
  REQUIRE(finisher.fix(f));
  CHECK(f.header().is_plain());
  CHECK(l4_residue(content_of(f), packet, false, false) == 0);
  CHECK(finisher.counters().checksums.value() == 1);
}

TEST_CASE("fwd finisher: what the next port takes is left alone") {
  const pool_of pool;
  test::random_source random(2);
  test::packet_recipe recipe;
  recipe.payload = 1000;
  const auto packet = test::build(recipe, random);
  frame f = pool.holding(packet.frame);
  f.set_header(gso_header(packet, gso::tcpv4, 100, true));
  fwd::finisher finisher{everything()};
  REQUIRE(finisher.fix(f));
  CHECK(f.header() == gso_header(packet, gso::tcpv4, 100, true));
  CHECK(content_of(f) == packet.frame);
}

TEST_CASE("fwd finisher: GSO frames become segments, also where buffers are short") {
  const bool v6 = GENERATE(false, true);
  const bool csum = GENERATE(false, true);
  const std::uint32_t buffer_size = GENERATE(256u, 2048u);  // shorter and longer than a segment
  const pool_of pool(512, buffer_size);
  test::random_source random(3);
  test::packet_recipe recipe;
  recipe.v6 = v6;
  recipe.payload = 30000;
  const auto packet = test::build(recipe, random);
  frame f = pool.holding(packet.frame);
  f.set_header(gso_header(packet, v6 ? gso::tcpv6 : gso::tcpv4, 1448, true));
  frame_offloads allowed;
  allowed.csum = csum;
  fwd::finisher finisher(allowed);
  REQUIRE_FALSE(finisher.fix(f));
  finisher.cut(std::move(f));

  // Sometimes there are no buffers, or too few for a segment.
  std::size_t budget = 0;
  const auto stingy = [&](std::span<frame> into) {
    const std::size_t got = pool.allocate(into.first(std::min(into.size(), budget)));
    budget -= got;
    return got;
  };
  bytes payload;
  std::size_t count = 0;
  for (int tries = 0; finisher.is_cutting(); ++tries) {
    REQUIRE(tries < 1000);
    budget = random() % 16;
    std::array<frame, 8> out;
    const std::size_t made = finisher.segments(out, stingy);
    for (frame& segment : out) CHECK(bool(segment) == (&segment < out.data() + made));
    for (frame& segment : std::span(out).first(made)) {
      const bytes content = content_of(segment);
      CHECK(segment.header().gso_type == gso::none);
      CHECK((segment.header().flags == header_flag::needs_csum) == csum);
      if (!csum) CHECK(l4_residue(content, packet, v6, true) == 0);
      payload.insert(payload.end(), content.begin() + static_cast<std::ptrdiff_t>(packet.payload),
                     content.end());
      ++count;
    }
  }
  CHECK(count == (30000 + 1447) / 1448);
  CHECK(finisher.counters().gso_frames.value() == 1);
  CHECK(finisher.counters().gso_segments.value() == count);
  CHECK(bytes(packet.frame.begin() + static_cast<std::ptrdiff_t>(packet.payload),
              packet.frame.end()) == payload);
  CHECK(pool.pool->available() == 512);
}

TEST_CASE("fwd finisher: what cannot be segmented is dropped by name") {
  const pool_of pool;
  bytes junk(100);
  frame f = pool.holding(junk);
  virtio_net_hdr header;
  header.flags = header_flag::needs_csum;
  header.gso_type = gso::tcpv4;
  header.gso_size = 10;
  header.csum_start = 34;
  header.csum_offset = 16;
  f.set_header(header);
  fwd::finisher finisher{frame_offloads{}};
  REQUIRE_FALSE(finisher.fix(f));
  finisher.cut(std::move(f));
  CHECK_FALSE(finisher.is_cutting());
  std::vector<drop_count> drops;
  finisher.losses().list(drops);
  REQUIRE(drops.size() == 1);
  CHECK(drops[0].reason == name(packet_fault::not_ip));
  CHECK(finisher.counters().gso_frames.value() == 0);
  CHECK(pool.pool->available() == 256);
}

TEST_CASE("fwd finisher: a frame that is given up counts the segments that were left") {
  const pool_of pool;
  test::random_source random(4);
  test::packet_recipe recipe;
  recipe.payload = 1000;
  const auto packet = test::build(recipe, random);
  frame f = pool.holding(packet.frame);
  f.set_header(gso_header(packet, gso::tcpv4, 100, true));
  fwd::finisher finisher{frame_offloads{}};
  finisher.cut(std::move(f));
  std::array<frame, 3> out;
  REQUIRE(finisher.segments(out, [&](std::span<frame> into) { return pool.allocate(into); }) == 3);
  CHECK(finisher.abandon() == 7);
  CHECK(finisher.counters().gso_segments.value() == 10);
  CHECK_FALSE(finisher.is_cutting());
}

TEST_CASE("fwd losses have names that differ") {
  std::vector<std::string_view> names;
  for (std::size_t i = 0; i < fwd::loss_count; ++i) names.push_back(fwd::loss_name(i));
  std::sort(names.begin(), names.end());
  CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
}

// Requests, byte by byte.
namespace {

constexpr mac_address asker = {2, 0, 0, 0, 0, 1};

bytes arp(std::uint8_t sender, std::uint8_t target, std::uint8_t operation = 1) {
  bytes f(6, std::byte{0xff});
  test::append(f, {2, 0, 0, 0, 0,  1, 8, 6,      0, 1, 8, 0, 6, 4, 0,  operation, 2, 0,
                   0, 0, 0, 1, 10, 0, 0, sender, 0, 0, 0, 0, 0, 0, 10, 0,         0, target});
  return f;
}

struct echo_fixture {
  pool_of pool;
  fwd::echo_host host{.kernel = parse_ip_prefix("10.0.0.1/24")};

  // What comes back; nothing if there is no answer, and the request is checked to be untouched then.
  bytes ask(const bytes& request) const {
    frame f = pool.holding(request);
    if (answer(f, host)) return content_of(f);
    CHECK(content_of(f) == request);
    return {};
  }
  [[nodiscard]] bytes to_host(bytes f) const {
    std::memcpy(f.data(), host.mac.data(), 6);
    return f;
  }
};

bytes echo4(std::size_t payload, unsigned type = 8) {
  bytes f(6);
  test::append(f, {2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0});
  test::append_word(f, 28 + payload);
  test::append(f, {0, 1, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, type, 0, 0, 0, 1, 2, 0, 1});
  for (std::size_t i = 0; i < payload; ++i) f.push_back(static_cast<std::byte>(i));
  const auto put = [&](std::size_t at, std::uint16_t sum) { store_big(f.data() + at, sum); };
  put(24, test::naive_checksum(std::span(f).subspan(14, 20)));
  put(36, test::naive_checksum(std::span(f).subspan(34)));
  return f;
}

bytes icmp6_frame(const bytes& message, bool from_nobody = false) {
  bytes f(6);
  test::append(f, {2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0});
  test::append_word(f, message.size());
  test::append(f, {58, 255});
  for (unsigned i = 0; i < 16; ++i) test::append(f, {from_nobody ? 0 : 0x20 + i});
  for (unsigned i = 0; i < 16; ++i) test::append(f, {0x40 + i});
  f.insert(f.end(), message.begin(), message.end());
  bytes sum = test::pseudo_header_bytes(f, 14, true, 58, message.size());
  sum.insert(sum.end(), message.begin(), message.end());
  store_big(f.data() + 56, test::naive_checksum(sum));
  return f;
}
std::uint16_t icmp6_residue(const bytes& f) {
  bytes sum = test::pseudo_header_bytes(f, 14, true, 58, f.size() - 54);
  sum.insert(sum.end(), f.begin() + 54, f.end());
  return test::naive_checksum(sum);
}

}  // namespace

TEST_CASE_METHOD(echo_fixture, "fwd echo: ARP") {
  const bytes reply = ask(arp(1, 2));
  REQUIRE(reply.size() == 42);
  CHECK(std::memcmp(reply.data(), asker.data(), 6) == 0);
  CHECK(std::memcmp(reply.data() + 6, host.mac.data(), 6) == 0);
  CHECK(reply[21] == std::byte{2});
  CHECK(std::memcmp(reply.data() + 22, host.mac.data(), 6) == 0);
  CHECK(test::number_at(reply, 28, 4) == 0x0a000002);
  CHECK(std::memcmp(reply.data() + 32, asker.data(), 6) == 0);
  CHECK(test::number_at(reply, 38, 4) == 0x0a000001);

  CHECK(ask(arp(1, 1)).empty());     // gratuitous
  CHECK(ask(arp(2, 1)).empty());     // for the kernel's own
  CHECK(ask(arp(1, 2, 2)).empty());  // a reply
  bytes probe = arp(1, 2);
  std::fill_n(probe.begin() + 28, 4, std::byte{0});
  CHECK(ask(probe).empty());
  bytes short_one = arp(1, 2);
  short_one.pop_back();
  CHECK(ask(short_one).empty());
}

TEST_CASE_METHOD(echo_fixture, "fwd echo: ping") {
  for (const std::size_t payload : {0u, 1u, 56u, 3000u}) {
    CAPTURE(payload);
    const bytes reply = ask(to_host(echo4(payload)));
    REQUIRE(reply.size() == 42 + payload);
    CHECK(reply[34] == std::byte{0});
    CHECK(test::number_at(reply, 26, 4) == 0x0a000002);
    CHECK(test::naive_checksum(std::span(reply).subspan(14, 20)) == 0);
    CHECK(test::naive_checksum(std::span(reply).subspan(34)) == 0);
  }
  CHECK(ask(echo4(8)).empty());              // to somebody else
  CHECK(ask(to_host(echo4(8, 0))).empty());  // a reply
  CHECK(ask(to_host(bytes(14))).empty());    // of no protocol
  CHECK(ask(bytes(3)).empty());
}

TEST_CASE_METHOD(echo_fixture, "fwd echo: IPv6") {
  bytes request(8);
  request[0] = std::byte{128};
  const bytes reply = ask(to_host(icmp6_frame(request)));
  REQUIRE(reply.size() == 62);
  CHECK(reply[54] == std::byte{129});
  CHECK(reply[22] == std::byte{0x40});
  CHECK(reply[38] == std::byte{0x20});
  CHECK(icmp6_residue(reply) == 0);

  bytes solicitation(24);
  solicitation[0] = std::byte{135};
  for (std::size_t i = 8; i < 24; ++i) solicitation[i] = static_cast<std::byte>(0x60 + i);
  bytes f = icmp6_frame(solicitation);
  f[0] = std::byte{0x33};
  const bytes advertisement = ask(f);
  REQUIRE(advertisement.size() == 86);
  CHECK(advertisement[54] == std::byte{136});
  CHECK(advertisement[58] == std::byte{0x60});
  CHECK(advertisement[22] == std::byte{0x68});  // from the address that was asked for
  CHECK(test::number_at(advertisement, 78, 2) == 0x0201);
  CHECK(std::memcmp(advertisement.data() + 80, host.mac.data(), 6) == 0);
  CHECK(icmp6_residue(advertisement) == 0);

  f = icmp6_frame(solicitation, true);  // is the address free?
  f[0] = std::byte{0x33};
  CHECK(ask(f).empty());
}

TEST_CASE("fwd txonly: the frame has right checksums") {
  const std::size_t size = GENERATE(42u, 43u, 64u, 1514u);
  const std::vector<std::byte> made = fwd::udp_frame(size, asker);
  REQUIRE(made.size() == size);
  const packet_layout at = parse_packet(made, made.size());
  CHECK(at.fault == packet_fault::none);
  CHECK(at.end == size);
  CHECK(test::naive_checksum(std::span(made).subspan(14, 20)) == 0);
  bytes sum = test::pseudo_header_bytes(made, 14, false, 17, size - 34);
  sum.insert(sum.end(), made.begin() + 34, made.end());
  CHECK(test::naive_checksum(sum) == 0);
}

TEST_CASE("fwd macswap: the addresses change places") {
  const pool_of pool;
  bytes content(64);
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(i);
  frame f = pool.holding(content);
  fwd::swap_addresses(f);
  std::swap_ranges(content.begin(), content.begin() + 6, content.begin() + 6);
  CHECK(content_of(f) == content);
  frame short_one = pool.holding(std::span(content).first(11));
  fwd::swap_addresses(short_one);  // is none
  CHECK(content_of(short_one)[0] == std::byte{6});
}

TEST_CASE("fwd pacer: as many frames as the time that has passed allows") {
  using std::chrono::microseconds;
  using std::chrono::seconds;
  const auto start = fwd::pacer::clock::time_point(seconds(1000));
  fwd::pacer pacer(1000);
  CHECK(pacer.limits());
  CHECK(pacer.allowance(start, 64) == 0);
  CHECK(pacer.next(start) == start + microseconds(1000));
  CHECK(pacer.allowance(start + microseconds(999), 64) == 0);
  CHECK(pacer.allowance(start + microseconds(1000), 64) == 1);
  pacer.sent(1);
  CHECK(pacer.allowance(start + microseconds(1000), 64) == 0);
  CHECK(pacer.next(start + microseconds(1999)) == start + microseconds(2099));
  CHECK(pacer.allowance(start + microseconds(500000), 64) == 64);
  CHECK(pacer.allowance(start + microseconds(11000), 64) == 10);

  // Over many seconds, in steps, it is exact.
  std::uint64_t sent = 1;
  for (auto now = start; now <= start + seconds(10); now += microseconds(700)) {
    const std::size_t some = pacer.allowance(now, 64);
    pacer.sent(some);
    sent += some;
  }
  CHECK(sent >= 9999);
  CHECK(sent <= 10000);
  // After a long stop it does not try to make up for all of it.
  CHECK(pacer.allowance(start + seconds(1000) + microseconds(3000), 100000) <= 1003);
  CHECK(fwd::pacer(0).allowance(start, 64) == 64);
}
