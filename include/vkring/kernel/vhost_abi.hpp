// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_VHOST_ABI_HPP
#define VKRING_KERNEL_VHOST_ABI_HPP

// The kernel's numbers and structures for vhost and vhost-net (vhost.h, vhost_types.h).

#include <sys/ioctl.h>

#include <array>
#include <cstddef>
#include <cstdint>

/// Own definitions, as the kernel's headers of a distribution lag behind its kernels. The word after
/// each name in the documentation of `vhost_net` says since which kernel it is there.
namespace vkring::inline v0::vhost_abi {

/// struct vhost_vring_state, vhost_vring_file, vhost_vring_addr. Note the order in the last one.
struct vring_state {
  std::uint32_t index;
  std::uint32_t number;
};
struct vring_file {
  std::uint32_t index;
  std::int32_t fd;
};
struct vring_addresses {
  std::uint32_t index;
  std::uint32_t flags;
  std::uint64_t descriptors;
  std::uint64_t used;
  std::uint64_t available;
  std::uint64_t log;
};

/// struct vhost_memory_region, and the head of struct vhost_memory, which `count` of them follow.
struct memory_region {
  std::uint64_t guest;
  std::uint64_t size;
  std::uint64_t host;
  std::uint64_t padding = 0;
};
struct memory_head {
  std::uint32_t count;
  std::uint32_t padding = 0;
};

/// struct vhost_features_array with as many words as `feature_set` has. Some kernels wipe the array
/// when they are asked for more words than they know, which two is not.
struct features_array {
  std::uint64_t count = 2;
  std::array<std::uint64_t, 2> words{};
};

/// struct vhost_iotlb_msg, and struct vhost_msg_v2 around it.
struct iotlb_message {
  std::uint64_t address;  ///< as the device knows it
  std::uint64_t size;
  std::uint64_t host;
  std::uint8_t permission;
  std::uint8_t type;
};
struct message {
  std::uint32_t type;
  std::uint32_t asid = 0;
  iotlb_message iotlb;
  std::array<std::byte, 32> reserved{};
};
inline constexpr std::uint32_t iotlb_message_v2 = 2;

inline constexpr int vhost = 0xaf;
inline constexpr unsigned long get_features = _IOR(vhost, 0x00, std::uint64_t);
inline constexpr unsigned long set_features = _IOW(vhost, 0x00, std::uint64_t);
inline constexpr unsigned long set_owner = _IO(vhost, 0x01);
inline constexpr unsigned long reset_owner = _IO(vhost, 0x02);
inline constexpr unsigned long set_mem_table = _IOW(vhost, 0x03, memory_head);
inline constexpr unsigned long set_log_base = _IOW(vhost, 0x04, std::uint64_t);
inline constexpr unsigned long set_log_fd = _IOW(vhost, 0x07, int);
inline constexpr unsigned long set_vring_num = _IOW(vhost, 0x10, vring_state);
inline constexpr unsigned long set_vring_addr = _IOW(vhost, 0x11, vring_addresses);
inline constexpr unsigned long set_vring_base = _IOW(vhost, 0x12, vring_state);
inline constexpr unsigned long get_vring_base = _IOWR(vhost, 0x12, vring_state);
inline constexpr unsigned long set_vring_endian = _IOW(vhost, 0x13, vring_state);
inline constexpr unsigned long get_vring_endian = _IOW(vhost, 0x14, vring_state);
inline constexpr unsigned long set_vring_kick = _IOW(vhost, 0x20, vring_file);
inline constexpr unsigned long set_vring_call = _IOW(vhost, 0x21, vring_file);
inline constexpr unsigned long set_vring_err = _IOW(vhost, 0x22, vring_file);
inline constexpr unsigned long set_vring_busyloop_timeout = _IOW(vhost, 0x23, vring_state);
inline constexpr unsigned long get_vring_busyloop_timeout = _IOW(vhost, 0x24, vring_state);
inline constexpr unsigned long set_backend_features = _IOW(vhost, 0x25, std::uint64_t);
inline constexpr unsigned long get_backend_features = _IOR(vhost, 0x26, std::uint64_t);
inline constexpr unsigned long net_set_backend = _IOW(vhost, 0x30, vring_file);
inline constexpr unsigned long set_features_array = _IOW(vhost, 0x83, std::uint64_t);
inline constexpr unsigned long get_features_array = _IOR(vhost, 0x83, std::uint64_t);
inline constexpr unsigned long set_fork_from_owner = _IOW(vhost, 0x84, std::uint8_t);
inline constexpr unsigned long get_fork_from_owner = _IOR(vhost, 0x85, std::uint8_t);

}  // namespace vkring::inline v0::vhost_abi

#endif  // VKRING_KERNEL_VHOST_ABI_HPP
