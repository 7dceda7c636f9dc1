// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/dpdk/offload_flags.hpp"

#include <rte_errno.h>

#include <catch2/catch.hpp>
#include <string>

#include "support/dpdk.hpp"
#include "support/packets.hpp"
#include "vkring/dpdk/prepare.hpp"

// What mbufs say about offloads, both ways, on real frames: as the header says it, and as the bytes
// have to be for it.

using namespace vkring;
using namespace vkring::test;

namespace {

constexpr frame_offloads everything{true, true, true, true, true, true, true};

::rte_mempool& pool() {
  static const packet_pool it = make_packet_pool(511, 4096);
  return *it;
}

// Frees the packet in the end.
struct packet {
  ::rte_mbuf* m;
  explicit packet(std::span<const std::byte> content, std::size_t piece = 4096)
      : m(packet_of(pool(), content, piece)) {}
  packet(const packet&) = delete;
  packet& operator=(const packet&) = delete;
  ~packet() { ::rte_pktmbuf_free(m); }

  void ask(std::uint64_t flags) const { m->ol_flags |= flags; }
};

// What a frame is, where its headers are, and what goes with it.
struct sample {
  std::string name;
  bytes frame;
  virtio_net_hdr header;
  std::uint64_t flags = 0;  // that ask for the same as the header
  std::uint16_t outer_l2 = 0, outer_l3 = 0, l2 = 0, l3 = 0, l4 = 0;

  void tell(::rte_mbuf& m) const {
    m.ol_flags |= flags;
    m.outer_l2_len = outer_l2 & vkring::detail::max_l2_len;
    m.outer_l3_len = outer_l3 & vkring::detail::max_l3_len;
    m.l2_len = l2 & vkring::detail::max_l2_len;
    m.l3_len = l3 & vkring::detail::max_l3_len;
    m.l4_len = static_cast<std::uint8_t>(l4);
    m.tso_segsz = header.gso_size;
  }
};

sample make_sample(const packet_recipe& recipe, std::uint16_t gso_size) {
  random_source random(1);
  const built_packet built = build(recipe, random);
  sample made;
  made.name = std::string(recipe.tcp ? "tcp" : "udp") + (recipe.v6 ? "6" : "4") + " tags " +
              std::to_string(recipe.tags) + " options " + std::to_string(recipe.ip_options) +
              " extensions " + std::to_string(recipe.extensions.size()) + " gso " +
              std::to_string(gso_size);
  made.frame = built.frame;
  made.header = header_for(recipe, built, gso_size);
  made.l2 = static_cast<std::uint16_t>(built.ip);
  made.l3 = static_cast<std::uint16_t>(built.l4 - built.ip);
  made.l4 = static_cast<std::uint16_t>(built.payload - built.l4);
  made.flags = (recipe.v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4) |
               (recipe.tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
  if (gso_size != 0) made.flags |= recipe.tcp ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
  if (gso_size != 0 && recipe.tcp && (recipe.tcp_flags & 0x80) != 0) {
    made.header.gso_type |= gso::ecn;
  }
  return made;
}

// The frame in VXLAN over UDP, whose checksum field holds the sum of its pseudo header, or 0.
sample tunnelled(const sample& inner, bool outer_v6, bool outer_csum) {
  random_source random(2);
  packet_recipe recipe;
  recipe.v6 = outer_v6;
  recipe.tcp = false;
  recipe.payload = 8 + inner.frame.size();
  built_packet outer = build(recipe, random);
  if (!outer_csum) outer.frame[outer.l4 + 6] = outer.frame[outer.l4 + 7] = std::byte{0};
  outer.frame.resize(outer.payload);
  append(outer.frame, {8, 0, 0, 0, 0, 0, 42, 0});
  sample made = inner;
  made.name = (outer_v6 ? "in udp6, " : "in udp4, ") + inner.name + (outer_csum ? " outer" : "");
  made.header.csum_start =
      static_cast<std::uint16_t>(inner.header.csum_start + outer.frame.size());
  made.outer_l2 = static_cast<std::uint16_t>(outer.ip);
  made.outer_l3 = static_cast<std::uint16_t>(outer.l4 - outer.ip);
  made.l2 = static_cast<std::uint16_t>(outer.frame.size() - outer.l4 + inner.l2);
  made.flags |= RTE_MBUF_F_TX_TUNNEL_VXLAN |
                (outer_v6 ? RTE_MBUF_F_TX_OUTER_IPV6 : RTE_MBUF_F_TX_OUTER_IPV4);
  if (inner.header.gso_type != gso::none) {
    made.header.gso_type |= outer_v6 ? gso::udp_tunnel_ipv6 : gso::udp_tunnel_ipv4;
    made.header.hdr_len = static_cast<std::uint16_t>(inner.header.hdr_len + outer.frame.size());
    made.header.outer_th_offset = static_cast<std::uint16_t>(outer.l4);
    made.header.inner_nh_offset = static_cast<std::uint16_t>(outer.frame.size() + inner.l2);
    if (outer_csum) {
      made.header.flags |= header_flag::udp_tunnel_csum;
      made.flags |= RTE_MBUF_F_TX_OUTER_UDP_CKSUM;
    }
  }
  made.frame = outer.frame;
  made.frame.insert(made.frame.end(), inner.frame.begin(), inner.frame.end());
  return made;
}

std::vector<sample> plain_samples() {
  std::vector<sample> all;
  for (const bool tcp : {true, false}) {
    for (const bool v6 : {false, true}) {
      for (const unsigned tags : {0u, 1u, 2u}) {
        for (const std::uint16_t gso_size : {std::uint16_t{0}, std::uint16_t{500}}) {
          packet_recipe recipe;
          recipe.tcp = tcp;
          recipe.v6 = v6;
          recipe.tags = tags;
          recipe.payload = gso_size == 0 ? 77 : 2222;
          all.push_back(make_sample(recipe, gso_size));
          recipe.tcp_options = tcp ? 12 : 0;
          recipe.tcp_flags = 0x90;  // ACK and CWR
          if (v6) {
            recipe.first_extension = 60;
            append(recipe.extensions, {tcp ? 6u : 17u, 0, 1, 4, 0, 0, 0, 0});
          } else {
            recipe.ip_options = 8;
          }
          all.push_back(make_sample(recipe, gso_size));
        }
      }
    }
  }
  return all;
}
std::vector<sample> all_samples() {
  std::vector<sample> all = plain_samples();
  const std::size_t plain = all.size();
  for (std::size_t i = 0; i < plain; ++i) {
    for (const bool outer_v6 : {false, true}) {
      for (const bool outer_csum : {false, true}) {
        if (outer_csum && all[i].header.gso_type == gso::none) continue;
        const sample inner = all[i];
        all.push_back(tunnelled(inner, outer_v6, outer_csum));
      }
    }
  }
  return all;
}

}  // namespace

TEST_CASE("mbuf flags: what a packet asks for is what its header says") {
  for (const sample& each : all_samples()) {
    CAPTURE(each.name);
    const packet it(each.frame);
    each.tell(*it.m);
    const mbuf_header made = header_of(*it.m);
    CHECK(made.fault == header_fault::none);
    CHECK(made.header == each.header);
    CHECK(check_tx_header(made.header, each.frame.size(), everything) == header_fault::none);
  }
}

TEST_CASE("mbuf flags: a packet that asks for nothing has a plain header") {
  const packet it(bytes(60));
  it.ask(RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_VLAN);
  CHECK(header_of(*it.m).header.is_plain());
  it.ask(RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_OUTER_IPV6 | RTE_MBUF_F_TX_TUNNEL_GRE);
  CHECK(header_of(*it.m).header.is_plain());
  CHECK(header_of(*it.m).fault == header_fault::none);
}

TEST_CASE("mbuf flags: what a header cannot say is refused") {
  const sample tcp = make_sample({.payload = 2000}, 500);
  const auto fault_with = [&](std::uint64_t flags, std::uint64_t without = 0) {
    const packet it(tcp.frame);
    tcp.tell(*it.m);
    it.m->ol_flags &= ~without;
    it.ask(flags);
    return header_of(*it.m).fault;
  };
  CHECK(fault_with(0) == header_fault::none);
  for (const std::uint64_t flag :
       {RTE_MBUF_F_TX_QINQ, RTE_MBUF_F_TX_MACSEC, RTE_MBUF_F_TX_SEC_OFFLOAD,
        RTE_MBUF_F_TX_IEEE1588_TMST, RTE_MBUF_F_TX_VLAN, RTE_MBUF_F_TX_IP_CKSUM,
        RTE_MBUF_F_TX_OUTER_IP_CKSUM, RTE_MBUF_F_TX_UDP_SEG, RTE_MBUF_F_TX_OUTER_UDP_CKSUM}) {
    CAPTURE(::rte_get_tx_ol_flag_name(flag));
    CHECK(fault_with(flag) == header_fault::unknown_flags);
  }
  CHECK(fault_with(RTE_MBUF_F_TX_SCTP_CKSUM, RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG) ==
        header_fault::unknown_flags);
  CHECK(fault_with(0, RTE_MBUF_F_TX_IPV4) == header_fault::unknown_gso_type);
  CHECK(fault_with(RTE_MBUF_F_TX_IPV6) == header_fault::unknown_gso_type);
  for (const std::uint64_t tunnel :
       {RTE_MBUF_F_TX_TUNNEL_GRE, RTE_MBUF_F_TX_TUNNEL_IPIP, RTE_MBUF_F_TX_TUNNEL_VXLAN_GPE,
        RTE_MBUF_F_TX_TUNNEL_GTP, RTE_MBUF_F_TX_TUNNEL_MPLSINUDP}) {
    CHECK(fault_with(tunnel | RTE_MBUF_F_TX_OUTER_IPV4) == header_fault::unknown_gso_type);
  }
  // Of which IP version the outer header is.
  CHECK(fault_with(RTE_MBUF_F_TX_TUNNEL_GENEVE) == header_fault::unknown_gso_type);
}

TEST_CASE("mbuf flags: the bytes of a packet are made ready for what it asks for") {
  for (const sample& each : all_samples()) {
    CAPTURE(each.name);
    bytes spoilt = each.frame;
    const std::size_t l3 = each.outer_l2 + each.outer_l3 + each.l2;
    const bool v4 = (each.flags & RTE_MBUF_F_TX_IPV4) != 0;
    const bool outer_v4 = (each.flags & RTE_MBUF_F_TX_OUTER_IPV4) != 0;
    const auto spoil = [&](std::size_t at) { spoilt[at] ^= std::byte{0x5a}; };
    spoil(each.header.csum_start + each.header.csum_offset);
    if (v4) spoil(l3 + 10);
    if (outer_v4) spoil(each.outer_l2 + 11u);
    if ((each.flags & RTE_MBUF_F_TX_OUTER_UDP_CKSUM) != 0) spoil(each.header.outer_th_offset + 7u);

    const packet it(spoilt);
    each.tell(*it.m);
    if (v4) it.ask(RTE_MBUF_F_TX_IP_CKSUM);
    if (outer_v4) it.ask(RTE_MBUF_F_TX_OUTER_IP_CKSUM);
    ::rte_mbuf* prepared = it.m;
    CHECK(prepare(prepared) == header_fault::none);
    CHECK(prepared == it.m);
    CHECK(content_of(*prepared) == each.frame);
    CHECK(header_of(*prepared).header == each.header);
    CHECK(prepare(std::span(&prepared, 1)) == 1);
    CHECK(content_of(*prepared) == each.frame);
  }
}

TEST_CASE("mbuf flags: a VLAN tag is inserted") {
  packet_recipe recipe{.payload = 100};
  const sample bare = make_sample(recipe, 0);
  recipe.tags = 1;
  const sample tagged = make_sample(recipe, 0);
  const packet it(bare.frame);
  bare.tell(*it.m);
  it.ask(RTE_MBUF_F_TX_VLAN);
  it.m->vlan_tci = 0x2000;
  ::rte_mbuf* prepared = it.m;
  CHECK(prepare(prepared) == header_fault::none);
  CHECK(content_of(*prepared) == tagged.frame);
  CHECK(header_of(*prepared).header == tagged.header);

  const packet full(bare.frame);
  full.ask(RTE_MBUF_F_TX_VLAN);
  ::rte_pktmbuf_prepend(full.m, ::rte_pktmbuf_headroom(full.m));
  prepared = full.m;
  CHECK(prepare(prepared) == header_fault::unknown_flags);
}

TEST_CASE("mbuf flags: headers that are not where the lengths say are refused") {
  const sample tcp = make_sample({.payload = 100}, 0);
  const packet cut(tcp.frame, 40);  // the TCP checksum is in the second segment
  tcp.tell(*cut.m);
  const packet beyond(tcp.frame);
  tcp.tell(*beyond.m);
  beyond.m->l3_len = 300;
  const packet short_ip(tcp.frame);
  tcp.tell(*short_ip.m);
  short_ip.m->l3_len = 4;
  const packet sctp(tcp.frame);
  tcp.tell(*sctp.m);
  sctp.m->ol_flags &= ~RTE_MBUF_F_TX_L4_MASK;
  sctp.ask(RTE_MBUF_F_TX_SCTP_CKSUM);
  const packet good(tcp.frame);
  tcp.tell(*good.m);
  for (::rte_mbuf* each : {cut.m, beyond.m, short_ip.m}) {
    CHECK(prepare(each) == header_fault::csum_start_beyond_end);
    ::rte_mbuf* both[] = {good.m, each};
    CHECK(prepare(both) == 1);
    CHECK(rte_errno == EINVAL);
  }
  ::rte_mbuf* both[] = {good.m, sctp.m};
  CHECK(prepare(both) == 1);
  CHECK(rte_errno == ENOTSUP);
}

TEST_CASE("mbuf flags: what a received header says, and what to send the packet on with") {
  for (const sample& each : all_samples()) {
    CAPTURE(each.name);
    if (each.outer_l2 != 0 && each.header.gso_type == gso::none) continue;  // see below
    for (const std::size_t piece : {std::size_t{4096}, std::size_t{200}}) {
      const packet it(each.frame, piece);
      CHECK(describe(*it.m, each.header) == header_fault::none);
      CHECK((it.m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE);
      const bool lro = each.header.gso_type != gso::none;
      CHECK(((it.m->ol_flags & RTE_MBUF_F_RX_LRO) != 0) == lro);
      if (lro) CHECK(it.m->tso_segsz == each.header.gso_size);
      CHECK(it.m->outer_l2_len == each.outer_l2);
      CHECK(it.m->outer_l3_len == each.outer_l3);
      CHECK(it.m->l2_len == each.l2);
      CHECK(it.m->l3_len == each.l3);
      CHECK(it.m->l4_len == each.l4);
      forward(*it.m);
      virtio_net_hdr expected = each.header;
      CHECK(header_of(*it.m).fault == header_fault::none);
      CHECK(header_of(*it.m).header == expected);
      CHECK(content_of(*it.m) == each.frame);
    }
  }
}

TEST_CASE("mbuf flags: the type of a packet with a partial checksum") {
  const sample tcp = make_sample({.v6 = true, .payload = 10}, 0);
  const packet it(tcp.frame);
  CHECK(describe(*it.m, tcp.header) == header_fault::none);
  CHECK(it.m->packet_type ==
        (RTE_PTYPE_L2_ETHER | RTE_PTYPE_L3_IPV6_EXT_UNKNOWN | RTE_PTYPE_L4_TCP));
  const sample tunnel = tunnelled(make_sample({.payload = 2000}, 500), true, false);
  const packet other(tunnel.frame);
  CHECK(describe(*other.m, tunnel.header) == header_fault::none);
  CHECK(other.m->packet_type ==
        (RTE_PTYPE_L2_ETHER | RTE_PTYPE_L3_IPV6_EXT_UNKNOWN | RTE_PTYPE_L4_UDP |
         RTE_PTYPE_INNER_L2_ETHER | RTE_PTYPE_INNER_L3_IPV4_EXT_UNKNOWN | RTE_PTYPE_INNER_L4_TCP));
}

TEST_CASE("mbuf flags: a verified checksum, and none") {
  const packet plain(bytes(60));
  CHECK(describe(*plain.m, {}) == header_fault::none);
  CHECK(plain.m->ol_flags == 0);
  forward(*plain.m);
  CHECK(plain.m->ol_flags == 0);
  const packet verified(bytes(60));
  CHECK(describe(*verified.m, {.flags = header_flag::data_valid}) == header_fault::none);
  CHECK(verified.m->ol_flags == RTE_MBUF_F_RX_L4_CKSUM_GOOD);
  forward(*verified.m);
  CHECK(header_of(*verified.m).header.is_plain());
}

TEST_CASE("mbuf flags: a checksum that an mbuf has no words for is completed") {
  // Inside of a tunnel without GSO, and of a protocol that is none of the two.
  for (const bool in_tunnel : {true, false}) {
    sample each = make_sample({.payload = 101}, 0);
    if (in_tunnel) {
      each = tunnelled(each, false, false);
    } else {
      each.header.csum_start = 21;
      each.header.csum_offset = 8;
    }
    bytes right = each.frame;
    REQUIRE(complete_checksum(right, each.header.csum_start, each.header.csum_offset));
    for (const std::size_t piece : {std::size_t{4096}, std::size_t{37}, std::size_t{30}}) {
      const packet it(each.frame, piece);
      CHECK(describe(*it.m, each.header) == header_fault::none);
      CHECK(it.m->ol_flags == 0);
      CHECK(it.m->tx_offload == 0);
      CHECK(content_of(*it.m) == right);
    }
  }
}

TEST_CASE("mbuf flags: a large packet that is not what its header says is refused") {
  const sample tcp = make_sample({.payload = 2000}, 500);
  virtio_net_hdr other = tcp.header;
  other.csum_start = static_cast<std::uint16_t>(other.csum_start + 4);
  const packet it(tcp.frame);
  CHECK(describe(*it.m, other) == header_fault::gso_header_beyond_end);
  const packet not_ip(bytes(2000));
  CHECK(describe(*not_ip.m, tcp.header) == header_fault::gso_header_beyond_end);
  virtio_net_hdr tunnel = tunnelled(tcp, false, false).header;
  const packet none(tcp.frame);
  CHECK(describe(*none.m, tunnel) == header_fault::gso_header_beyond_end);
}
