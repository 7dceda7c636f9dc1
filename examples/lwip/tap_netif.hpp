// SPDX-License-Identifier: BSD-3-Clause
#ifndef LWIP_TAP_NETIF_HPP
#define LWIP_TAP_NETIF_HPP

// A network interface of lwIP whose packets go through a vkring device, without a copy in either
// direction.

#include <lwip/netif.h>
#include <lwip/pbuf.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>
#include <vkring/device.hpp>

#include "burst.hpp"

namespace lwip_example {

/// What lwIP leaves to the kernel.
enum class offloads : std::uint8_t {
  none,
  csum,  ///< the checksums of TCP and UDP, both ways
  tso,   ///< and what one packet of TCP continues from another goes to the kernel as one frame
};

/// What the interface counts beside the queues of its device.
struct netif_counters {
  std::uint64_t copied = 0;      ///< sent packets that did not lie in the pool, or in many pieces
  std::uint64_t refused = 0;     ///< sent packets for which there was no room: lwIP knows
  std::uint64_t in_pieces = 0;   ///< received frames in several buffers, which were dropped
  std::uint64_t not_taken = 0;   ///< received packets that lwIP had no use for
  std::uint64_t unverified = 0;  ///< received packets whose checksum lwIP had to verify
};

/// The interface: received frames are pbufs whose memory is the frame's, until lwIP frees them; what is
/// sent is read by the device where lwIP has built it, and lwIP's packet is held until that is done.
///
/// One thread, which is lwIP's at the same time: see `main.cpp`. What lwIP sends is kept until
/// `flush`.
class tap_netif {
 public:
  /// On `tap`, whose pool lwIP's packets come from (heap.hpp).
  tap_netif(vkring::device tap, offloads wanted);
  tap_netif(const tap_netif&) = delete;  // lwIP and the pbufs point to it
  tap_netif& operator=(const tap_netif&) = delete;

  /// Adds it to lwIP, up, with that address. False: lwIP refused it.
  [[nodiscard]] bool add(const ip4_addr_t& address, const ip4_addr_t& mask);
  /// Gives lwIP what has come, a burst at most, and lets go of what was sent. Returns how many
  /// frames came.
  std::size_t poll();
  /// Sends what lwIP has produced since.
  void flush();
  /// Sleeps until a frame comes, something is wrong, or the time is over: then it is false.
  bool wait(std::chrono::milliseconds most) { return tap_.wait(most); }

  [[nodiscard]] vkring::device& tap() noexcept { return tap_; }
  [[nodiscard]] const netif_counters& counters() const noexcept { return counters_; }

 private:
  // A received frame, as lwIP knows it.
  struct received : pbuf_custom {
    vkring::frame frame;
    tap_netif* owner = nullptr;
    bool verified = false;
  };

  static err_t initialize(netif* it);
  static err_t output(netif* it, pbuf* packet);
  static void free(pbuf* packet);
  static bool verified(const pbuf* packet) noexcept;

  void input(vkring::frame& frame);
  err_t send(pbuf* packet);
  [[nodiscard]] bool sendable(const pbuf* packet) const noexcept;

  vkring::device tap_;
  offloads offloads_;
  netif netif_{};
  std::vector<received> received_;
  std::vector<received*> idle_received_;
  std::vector<burst> bursts_;
  std::vector<burst*> idle_bursts_;
  burst* open_ = nullptr;  // what is to be sent by the next `flush`
  netif_counters counters_;
};

}  // namespace lwip_example

#endif  // LWIP_TAP_NETIF_HPP
