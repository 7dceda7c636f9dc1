// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_SPLIT_HPP
#define VKRING_RING_SPLIT_HPP

// Both sides of the split virtqueue.

#include <vkring/ring/split_device.hpp>
#include <vkring/ring/split_driver.hpp>

#endif  // VKRING_RING_SPLIT_HPP
