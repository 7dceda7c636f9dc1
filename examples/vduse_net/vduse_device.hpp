// SPDX-License-Identifier: BSD-3-Clause
#ifndef VDUSE_NET_VDUSE_DEVICE_HPP
#define VDUSE_NET_VDUSE_DEVICE_HPP

// A network device of VDUSE ("vDPA device in user space"), one member for each ioctl.

#include <linux/vduse.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/memory/region.hpp>
#include <vkring/net/features.hpp>

namespace vduse_net {

/// The queues of a network device, as the driver sees them. Source: virtio 1.3 section 5.1.2.
enum class queue : std::uint32_t { rx = 0, tx = 1 };

/// A virtio-net device with one queue pair, whose driver talks to us through the kernel.
///
/// Errors name the ioctl and the device. Thread-safety: `call` from any thread, the rest by one
/// thread. Move-only. Since Linux 6.10. Source: drivers/vdpa/vdpa_user/vduse_dev.c.
class vduse_device {
 public:
  /// Makes it, for no driver yet: that takes a place on the vdpa bus (vdpa_bus.hpp).
  /// Errors: EPERM without CAP_NET_ADMIN, EEXIST, EINVAL where the kernel has no such devices.
  static vkring::result<vduse_device> create(const std::string& name,
                                             const vkring::feature_set& offered,
                                             std::uint16_t queue_size);
  vduse_device(vduse_device&&) = default;
  vduse_device& operator=(vduse_device&&) = delete;
  /// Destroys it. It must have left the vdpa bus.
  ~vduse_device();

  /// Readable while there is a request.
  [[nodiscard]] int fd() const noexcept { return device_.get(); }
  /// What the driver asks for next; nothing if it asks for nothing.
  vkring::result<std::optional<vduse_dev_request>> next_request();
  /// Answers it: the driver waits, for half a minute at most.
  vkring::result<void> answer(const vduse_dev_request& request, bool accepted);

  /// What the driver has accepted, which is its word alone: any bits.
  vkring::result<vkring::feature_set> accepted() const;
  /// Where the driver has put a queue, unchecked.
  vkring::result<vduse_vq_info> info(queue which) const;
  /// The driver's kicks are signalled there from now on.
  vkring::result<void> set_kick(queue which, const vkring::event_fd& kick) const;
  /// Calls the driver. Errors: EINVAL when it is not running.
  vkring::result<void> call(queue which) const;

  /// The file behind one of the driver's addresses, and in `entry` the range that it is in.
  /// Errors: EINVAL when there is none.
  vkring::result<vkring::fd> file_at(std::uint64_t address, vduse_iotlb_entry& entry) const;
  /// The lowest range of the driver's addresses. Errors: EINVAL when there is none.
  vkring::result<vduse_iova_info> lowest_range() const;
  /// Has the kernel put what the driver sends and receives into this memory, which stands for the
  /// driver's addresses from 0 on and has their exact size; until `take_back`. The pages are
  /// pinned.
  vkring::result<void> lend(const vkring::region& pages) const;
  void take_back(const vkring::region& pages) const noexcept;

 private:
  vduse_device(std::string name, vkring::fd control) noexcept
      : name_(std::move(name)), control_(std::move(control)) {}

  vkring::result<void> call_device(unsigned long request, void* argument, std::string_view what,
                                   const vkring::hint_for& hint = {}) const;

  std::string name_;
  vkring::fd control_;
  vkring::fd device_;
};

}  // namespace vduse_net

#endif  // VDUSE_NET_VDUSE_DEVICE_HPP
