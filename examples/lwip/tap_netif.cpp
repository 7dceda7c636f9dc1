// SPDX-License-Identifier: BSD-3-Clause
#include "tap_netif.hpp"

#include <lwip/etharp.h>
#include <lwip/ethip6.h>
#include <netif/ethernet.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vkring/net/checksum.hpp>

#include "checksums.hpp"

namespace lwip_example {

namespace {

constexpr std::size_t frames_at_once = 32;
constexpr u8_t mac[] = {2, 0, 0, 0, 7, 2};

}  // namespace

tap_netif::tap_netif(vkring::device tap, offloads wanted)
    : tap_(std::move(tap)),
      offloads_(wanted),
      received_(tap_.source().size()),
      bursts_(tap_.tx(0).ring().size()) {
  for (received& each : received_) {
    each.custom_free_function = &tap_netif::free;
    each.owner = this;
    idle_received_.push_back(&each);
  }
  for (burst& each : bursts_) idle_bursts_.push_back(&each);
  if (wanted != offloads::none) offload_checksums(&tap_netif::verified);
}

bool tap_netif::add(const ip4_addr_t& address, const ip4_addr_t& mask) {
  if (netif_add(&netif_, &address, &mask, nullptr, this, &tap_netif::initialize,
                &ethernet_input) == nullptr) {
    return false;
  }
  netif_set_default(&netif_);
  netif_set_up(&netif_);
  netif_set_link_up(&netif_);
  return true;
}

err_t tap_netif::initialize(netif* it) {
  it->name[0] = 'v';
  it->name[1] = 'k';
  it->output = etharp_output;
  it->output_ip6 = ethip6_output;
  it->linkoutput = &tap_netif::output;
  it->mtu = 1500;
  it->hwaddr_len = sizeof mac;
  std::copy_n(mac, sizeof mac, it->hwaddr);
  it->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
  return ERR_OK;
}

std::size_t tap_netif::poll() {
  std::array<std::uint64_t, 64> tokens;
  while (const std::size_t done = tap_.tx(0).finished(tokens)) {
    for (const std::uint64_t token : std::span(tokens).first(done)) {
      bursts_[token].release();
      idle_bursts_.push_back(&bursts_[token]);
    }
  }
  std::array<vkring::frame, frames_at_once> frames;
  const std::size_t count = tap_.rx(0).receive(frames);
  for (vkring::frame& each : std::span(frames).first(count)) input(each);
  return count;
}

void tap_netif::input(vkring::frame& frame) {
  const std::span<std::byte> bytes = frame.contiguous();
  if (bytes.empty()) {
    ++counters_.in_pieces;
    frame.reset();
    return;
  }
  // There is one for each buffer of the pool.
  received* const packet = std::exchange(idle_received_.back(), nullptr);
  idle_received_.pop_back();
  const auto state = vkring::checksum_state::of(frame.header()).what();
  packet->verified = state != vkring::checksum_state::kind::none;
  if (!packet->verified) ++counters_.unverified;
  packet->frame = std::move(frame);
  const auto size = static_cast<u16_t>(bytes.size());
  pbuf* const it = pbuf_alloced_custom(PBUF_RAW, size, PBUF_REF, packet, bytes.data(), size);
  if (netif_.input(it, &netif_) == ERR_OK) return;
  ++counters_.not_taken;
  pbuf_free(it);
}

void tap_netif::free(pbuf* packet) {
  auto* const it = static_cast<received*>(reinterpret_cast<pbuf_custom*>(packet));
  it->owner->tap_.rx(0).recycle({&it->frame, 1});
  it->owner->idle_received_.push_back(it);
}

bool tap_netif::verified(const pbuf* packet) noexcept {
  return static_cast<const received*>(reinterpret_cast<const pbuf_custom*>(packet))->verified;
}

err_t tap_netif::output(netif* it, pbuf* packet) {
  return static_cast<tap_netif*>(it->state)->send(packet);
}

bool tap_netif::sendable(const pbuf* packet) const noexcept {
  if (pbuf_clen(packet) > burst::most_pieces) return false;
  const auto& pool = *tap_.shared_source();
  for (; packet != nullptr; packet = packet->next) {
    const std::span bytes(static_cast<const std::byte*>(packet->payload), packet->len);
    if (!pool.regions()[0].address_of(bytes)) return false;
  }
  return true;
}

err_t tap_netif::send(pbuf* packet) {
  if (sendable(packet)) {
    pbuf_ref(packet);
  } else {
    packet = pbuf_clone(PBUF_RAW, PBUF_RAM, packet);
    if (packet == nullptr || !sendable(packet)) {
      ++counters_.refused;
      if (packet != nullptr) pbuf_free(packet);
      return ERR_MEM;
    }
    ++counters_.copied;
  }
  if (open_ != nullptr && offloads_ == offloads::tso && open_->append(packet)) return ERR_OK;
  flush();
  if (open_ != nullptr || idle_bursts_.empty()) {  // the ring is full
    ++counters_.refused;
    pbuf_free(packet);
    return ERR_MEM;
  }
  open_ = idle_bursts_.back();
  idle_bursts_.pop_back();
  open_->begin(packet, offloads_ != offloads::none);
  return ERR_OK;
}

void tap_netif::flush() {
  if (open_ == nullptr) return;
  const vkring::virtio_net_hdr header = open_->finish();
  std::array<vkring::segment, burst::most_pieces> segments;
  std::size_t count = 0;
  for (const std::span<std::byte> piece : open_->pieces()) {
    segments[count++] = {*tap_.source().regions()[0].address_of(piece),
                         static_cast<std::uint32_t>(piece.size())};
  }
  const auto token = static_cast<std::uint64_t>(open_ - bursts_.data());
  if (tap_.tx(0).send(std::span(segments).first(count), header, token)) open_ = nullptr;
}

}  // namespace lwip_example
