// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_DEVICE_CONFIG_HPP
#define VKRING_WORKER_DEVICE_CONFIG_HPP

// What a device is to be.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/kernel/tap_options.hpp>
#include <vkring/net/ip_prefix.hpp>
#include <vkring/net/mac.hpp>
#include <vkring/net/wanted.hpp>
#include <vkring/worker/tap_worker.hpp>
#include <vkring/worker/vhost_options.hpp>

namespace vkring::inline v0 {

/// What serves the far end of the rings.
enum class backend_kind : std::uint8_t {
  automatic,  ///< vhost-net where it works, else the worker
  vhost,      ///< threads of the kernel: /dev/vhost-net
  worker,     ///< threads of this process
};

/// Descriptors of the two rings of a queue pair.
struct ring_sizes {
  std::uint32_t tx;  ///< of the transmit ring
  std::uint32_t rx;  ///< of the receive ring
  friend bool operator==(const ring_sizes&, const ring_sizes&) noexcept = default;
};

/// What a device is to be. As it is: a new TAP interface, up, with every offload that works.
template <class Sys = posix>
struct basic_device_config {
  std::string name = "vkring%d";  ///< one `%d` becomes a free number
  tap_mode mode = tap_mode::tap;  ///< frames begin with an Ethernet header, or (TUN) with that of IP
  backend_kind backend = backend_kind::automatic;  ///< who serves the rings
  wanted_features wanted = {};  ///< offloads, queue pairs, queue size, MTU; `buffer_bytes` is set
                                ///< by `open`, from the source
  /// One for each queue pair, where not all rings are of `wanted.queue_size`. Such a device cannot be
  /// handed over.
  std::vector<ring_sizes> sizes = {};
  std::optional<mac_address> mac = {};    ///< of the kernel's end; the kernel's choice otherwise.
                                          ///< A TUN has none
  std::vector<ip_prefix> addresses = {};  ///< of the kernel's end
  std::string netns = {};           ///< name or path of the network namespace; empty: the caller's
  bool up = true;                   ///< sets the interface up once the rings are served
  bool persist = false;             ///< the interface outlives the device
  std::optional<uid_t> owner = {};  ///< who may attach to a persistent one
  std::optional<gid_t> group = {};  ///< whose members may, too
  /// On what may be under way from each tx ring into the kernel's stack; it costs vhost-net its
  /// batches. None: a TAP has no limit, and of a TUN it is the weakest one.
  std::optional<send_limit> limit = {};
  worker_options worker = {};  ///< for the worker
  vhost_options vhost = {};    ///< for vhost-net
  /// Queues of one interface that somebody else opened, one for each queue pair, instead of `name`.
  std::vector<basic_fd<Sys>> queue_fds = {};
};
using device_config = basic_device_config<>;

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_DEVICE_CONFIG_HPP
