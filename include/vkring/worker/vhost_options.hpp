// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_VHOST_OPTIONS_HPP
#define VKRING_WORKER_VHOST_OPTIONS_HPP

// How vhost-net serves a device.

#include <chrono>
#include <optional>
#include <string>
#include <vector>
#include <vkring/kernel/thread.hpp>
#include <vkring/kernel/vhost_net.hpp>

namespace vkring::inline v0 {

/// How long vhost-net looks for more work after a ring ran dry, before it sleeps: for more to send, and
/// for more from the kernel. It looks at both meanwhile, and an idle device costs a CPU for that long
/// after each frame.
struct vhost_busyloop {
  std::chrono::microseconds rx{0};  ///< for more from the kernel
  std::chrono::microseconds tx{0};  ///< for more to send
};

/// How vhost-net serves a device. As it is: as the kernel likes.
struct vhost_options {
  std::string path = std::string(vhost_net::default_path);  ///< of the device
  /// The CPU of the thread that serves queue pair i is `cpus[i]`, around the list; empty: wherever
  /// the kernel puts it.
  std::vector<int> cpus = {};
  /// The scheduler class of those threads; none: the kernel's choice.
  std::optional<thread_schedule> schedule = {};
  vhost_busyloop busyloop = {};  ///< 0: it sleeps at once
  /// Kernel threads or tasks of this process; none: the kernel's choice. Since Linux 6.17, and in
  /// some older ones.
  std::optional<vhost_owner_mode> owner_mode = {};
};

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_VHOST_OPTIONS_HPP
