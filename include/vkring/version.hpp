// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_VERSION_HPP
#define VKRING_VERSION_HPP

// The library's version, the one place that holds it: CMake reads these three lines.

/// @namespace vkring
/// Virtio rings that end in the Linux kernel: `device` is where to begin.
///
/// All of vkring lives in `vkring::inline v0`; the inline namespace changes whenever the layout of a
/// public class changes, so objects of two incompatible versions never link together by accident.

/// @{
/// The release: major, minor and patch number.
#define VKRING_VERSION_MAJOR 0
#define VKRING_VERSION_MINOR 1
#define VKRING_VERSION_PATCH 0
/// @}

#endif  // VKRING_VERSION_HPP
