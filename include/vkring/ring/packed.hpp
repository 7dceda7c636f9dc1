// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_PACKED_HPP
#define VKRING_RING_PACKED_HPP

// Both sides of the packed virtqueue.

#include <vkring/ring/packed_device.hpp>
#include <vkring/ring/packed_driver.hpp>

#endif  // VKRING_RING_PACKED_HPP
