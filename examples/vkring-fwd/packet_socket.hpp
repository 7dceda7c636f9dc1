// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_PACKET_SOCKET_HPP
#define VKRING_FWD_PACKET_SOCKET_HPP

// A packet socket on an existing interface, whose frames lie in buffers of the pool that the TAP
// ports use, so that they go from one to the other without a copy.

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>
#include <vkring/core/counter.hpp>
#include <vkring/kernel/fd.hpp>
#include <vkring/memory/buffer_pool.hpp>
#include <vkring/memory/frame.hpp>
#include <vkring/net/header.hpp>
#include <vkring/queue/handle_cache.hpp>

#include "counters.hpp"

namespace fwd {

/// Frames in and out of one interface, with their offload headers (PACKET_VNET_HDR).
///
/// Thread-safety: `receive` and `send` by one thread each; the counters and `gone` from any.
class packet_socket {
 public:
  /// Everything that goes through, of both directions. One writer each.
  struct traffic {
    vkring::counter packets;
    vkring::counter bytes;
    vkring::queue_counters header_drops;  ///< only its `drops`
    loss_counters losses;
  };

  /// Opens a socket in the calling thread's network namespace and binds it to `interface_index`.
  /// Errors: EPERM without CAP_NET_RAW; what socket, setsockopt and bind return.
  static vkring::result<packet_socket> open(const std::string& iface, int interface_index,
                                            bool qdisc_bypass,
                                            std::shared_ptr<vkring::buffer_pool> pool);

  packet_socket(packet_socket&&) = default;
  ~packet_socket();

  /// What received frames may ask for: what the kernel's header can say.
  [[nodiscard]] const vkring::frame_offloads& may_receive() const noexcept { return may_receive_; }
  /// What frames to be sent may ask for.
  [[nodiscard]] const vkring::frame_offloads& may_send() const noexcept { return may_send_; }
  /// How many buffers a socket holds to receive into.
  [[nodiscard]] static std::size_t buffers_held(std::uint32_t capacity) noexcept;

  /// Fills empty frames; returns how many.
  std::size_t receive(std::span<vkring::frame> frames) noexcept;
  /// Sends frames in order and returns how many it consumed: fewer when the socket is full. What
  /// the kernel refuses is consumed and counted.
  std::size_t send(std::span<vkring::frame> frames) noexcept;
  /// Fills empty frames with empty buffers; returns how many.
  std::size_t allocate(std::span<vkring::frame> frames) noexcept;
  /// Whether there are buffers to receive into.
  [[nodiscard]] bool has_buffers() noexcept { return refill(landings_.front()); }

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  [[nodiscard]] const traffic& rx() const noexcept { return rx_; }
  [[nodiscard]] const traffic& tx() const noexcept { return tx_; }
  /// Whether the interface was deleted. A system call.
  [[nodiscard]] bool gone() const noexcept;
  /// How many frames the kernel has dropped since the last call, as the socket's buffer was full.
  [[nodiscard]] std::uint64_t take_kernel_drops() const noexcept;

 private:
  using handle = vkring::buffer_pool::handle;

  // struct virtio_net_hdr as a packet socket has it: in the host's byte order.
  struct wire_header {
    std::uint8_t flags;
    std::uint8_t gso_type;
    std::uint16_t hdr_len;
    std::uint16_t gso_size;
    std::uint16_t csum_start;
    std::uint16_t csum_offset;
  };
  static_assert(sizeof(wire_header) == vkring::legacy_header_size);

  // Where one frame is received: buffers for the longest that may come. The first `used` of them
  // went away with a frame and are to be replaced before the next one.
  struct landing {
    wire_header header{};
    alignas(cmsghdr) std::byte control[64];
    std::vector<handle> buffers;
    std::size_t used = 0;
    std::vector<iovec> pieces;  // the header, then the buffers
  };
  packet_socket(vkring::fd socket, bool qdisc_bypass, std::shared_ptr<vkring::buffer_pool> pool);

  bool refill(landing& at) noexcept;
  void land(landing& at, std::size_t size, const msghdr& message, vkring::frame& into) noexcept;
  std::size_t prepare(std::span<vkring::frame> frames) noexcept;
  void drop_first(vkring::frame& frame, int reason) noexcept;

  std::shared_ptr<vkring::buffer_pool> pool_;
  vkring::fd socket_;
  vkring::frame_offloads may_receive_;
  vkring::frame_offloads may_send_;
  traffic rx_;
  traffic tx_;
  vkring::handle_cache<vkring::buffer_pool> cache_;
  std::vector<landing> landings_;
  std::vector<mmsghdr> incoming_;
  std::vector<mmsghdr> outgoing_;
  std::vector<wire_header> headers_;  // of outgoing_
  std::vector<iovec> pieces_;         // of outgoing_
};

}  // namespace fwd

#endif  // VKRING_FWD_PACKET_SOCKET_HPP
