// SPDX-License-Identifier: BSD-3-Clause
#ifndef VDUSE_NET_VDPA_BUS_HPP
#define VDUSE_NET_VDPA_BUS_HPP

// A VDUSE device's place on the vdpa bus, where drivers find it: `vdpa dev add` and `vdpa dev del`.

#include <string>
#include <vkring/core/error.hpp>

namespace vduse_net {

/// Puts the device there. The kernel binds a driver at once, and waits for what the device answers
/// to it: somebody else has to serve its requests meanwhile. Errors: EPERM without CAP_NET_ADMIN,
/// ENOENT without the module vdpa, EINVAL when there is no such device.
vkring::result<void> attach(const std::string& name);
/// Takes it away, with its driver and its interface; the same holds for that.
vkring::result<void> detach(const std::string& name);

}  // namespace vduse_net

#endif  // VDUSE_NET_VDPA_BUS_HPP
