// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_PORT_HPP
#define VKRING_FWD_PORT_HPP

// A port as the control path sees it: opened from its options, asked for its queues and its counters.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vkring/core/error.hpp>
#include <vkring/device.hpp>
#include <vkring/kernel/link.hpp>
#include <vkring/memory/buffer_pool.hpp>
#include <vkring/net/header.hpp>
#include <vkring/net/mac.hpp>

#include "frame_queue.hpp"
#include "options.hpp"
#include "packet_socket.hpp"
#include "statistics.hpp"

namespace fwd {

/// What a port has to know of the others before it is opened.
struct port_context {
  std::shared_ptr<vkring::buffer_pool> pool;
  std::uint32_t buffer_size;  ///< of the pool, as it was asked for
  bool forwards_tunnels;      ///< frames within UDP tunnels can be sent on
};

/// A TAP of this program, over rings of one layout.
template <class Layout>
class tap_port {
 public:
  using device_type = vkring::basic_device<Layout>;

  static vkring::result<tap_port> open(const tap_options& options, const port_context& context);

  [[nodiscard]] std::string_view name() const noexcept { return device_->name(); }
  [[nodiscard]] std::string about();
  [[nodiscard]] std::size_t queues() const noexcept { return device_->queue_pairs(); }
  [[nodiscard]] any_queue queue(std::size_t pair) noexcept {
    return ring_queue<device_type>(*device_, pair, calls_[pair]);
  }
  [[nodiscard]] const vkring::frame_offloads& may_receive() const noexcept {
    return device_->plan().rx;
  }
  [[nodiscard]] const vkring::frame_offloads& may_send() const noexcept {
    return device_->plan().tx;
  }
  [[nodiscard]] std::optional<vkring::mac_address> mac() const;
  [[nodiscard]] std::uint32_t mtu();

  [[nodiscard]] port_report counters();
  /// Whether the interface was deleted.
  [[nodiscard]] bool gone();
  /// Whether the kernel has taken all that was sent. Only when no thread uses the queues.
  [[nodiscard]] bool drained();
  /// The rings, for people. Only when no thread uses the queues.
  [[nodiscard]] std::string inspect();

 private:
  explicit tap_port(device_type device);
  void count_worker(std::size_t pair, queue_report& queue);
  void count_vhost(std::size_t pair, queue_report& queue);

  // Queues refer to both.
  std::unique_ptr<device_type> device_;
  std::unique_ptr<call_counters[]> calls_;
  vkring::link_counters before_{};  // an interface may be older than the port
};

/// An existing interface through a packet socket.
class packet_port {
 public:
  static vkring::result<packet_port> open(const packet_options& options,
                                          const port_context& context);

  [[nodiscard]] std::string_view name() const noexcept { return link_.name(); }
  [[nodiscard]] std::string about();
  [[nodiscard]] std::size_t queues() const noexcept { return 1; }
  [[nodiscard]] any_queue queue(std::size_t) noexcept { return socket_queue(*socket_); }
  [[nodiscard]] const vkring::frame_offloads& may_receive() const noexcept {
    return socket_->may_receive();
  }
  [[nodiscard]] const vkring::frame_offloads& may_send() const noexcept {
    return socket_->may_send();
  }
  [[nodiscard]] std::optional<vkring::mac_address> mac();
  [[nodiscard]] std::uint32_t mtu();

  [[nodiscard]] port_report counters();
  [[nodiscard]] bool gone() const noexcept { return socket_->gone(); }
  [[nodiscard]] bool drained() const noexcept { return true; }
  [[nodiscard]] std::string inspect() { return std::string(name()) + ": no rings\n"; }

 private:
  packet_port(vkring::net_link link, packet_socket socket);

  vkring::net_link link_;
  std::unique_ptr<packet_socket> socket_;  // queues refer to it
  vkring::link_counters before_{};
  std::uint64_t kernel_drops_ = 0;
};

using port = std::variant<tap_port<vkring::split>, tap_port<vkring::packed>, packet_port>;

/// Opens what `options` say. Errors: those of the device, the link and the socket; `usage_error`
/// where a value names something that does not exist or cannot be had.
vkring::result<port> open_port(const port_options& options, const port_context& context);

/// Buffers that a port may hold at once.
[[nodiscard]] std::uint64_t buffers_needed(const port_options& options, std::uint32_t capacity);

}  // namespace fwd

#endif  // VKRING_FWD_PORT_HPP
