// SPDX-License-Identifier: BSD-3-Clause

// The installed kernel headers' view of what kernel/vhost_abi.hpp defines anew.

#include <linux/vhost.h>
#include <stddef.h>

const struct {
  const char* name;
  unsigned long value;
} uapi_vhost[] = {
#define VALUE(x) \
  { #x, (unsigned long)(x) }
    VALUE(VHOST_GET_FEATURES),
    VALUE(VHOST_SET_FEATURES),
    VALUE(VHOST_SET_OWNER),
    VALUE(VHOST_RESET_OWNER),
    VALUE(VHOST_SET_MEM_TABLE),
    VALUE(VHOST_SET_LOG_BASE),
    VALUE(VHOST_SET_LOG_FD),
    VALUE(VHOST_SET_VRING_NUM),
    VALUE(VHOST_SET_VRING_ADDR),
    VALUE(VHOST_SET_VRING_BASE),
    VALUE(VHOST_GET_VRING_BASE),
    VALUE(VHOST_SET_VRING_ENDIAN),
    VALUE(VHOST_GET_VRING_ENDIAN),
    VALUE(VHOST_SET_VRING_KICK),
    VALUE(VHOST_SET_VRING_CALL),
    VALUE(VHOST_SET_VRING_ERR),
    VALUE(VHOST_SET_VRING_BUSYLOOP_TIMEOUT),
    VALUE(VHOST_GET_VRING_BUSYLOOP_TIMEOUT),
    VALUE(VHOST_SET_BACKEND_FEATURES),
    VALUE(VHOST_GET_BACKEND_FEATURES),
    VALUE(VHOST_NET_SET_BACKEND),
#ifdef VHOST_GET_FEATURES_ARRAY
    VALUE(VHOST_GET_FEATURES_ARRAY),
    VALUE(VHOST_SET_FEATURES_ARRAY),
    VALUE(VHOST_SET_FORK_FROM_OWNER),
    VALUE(VHOST_GET_FORK_FROM_OWNER),
#endif
    VALUE(VHOST_IOTLB_MSG_V2),
    {"sizeof addr", sizeof(struct vhost_vring_addr)},
    {"addr used", offsetof(struct vhost_vring_addr, used_user_addr)},
    {"addr avail", offsetof(struct vhost_vring_addr, avail_user_addr)},
    {"sizeof region", sizeof(struct vhost_memory_region)},
    {"region host", offsetof(struct vhost_memory_region, userspace_addr)},
    {"sizeof memory", sizeof(struct vhost_memory)},
    {"sizeof message", sizeof(struct vhost_msg_v2)},
    {"message iotlb", offsetof(struct vhost_msg_v2, iotlb)},
    {"iotlb host", offsetof(struct vhost_iotlb_msg, uaddr)},
    {"iotlb type", offsetof(struct vhost_iotlb_msg, type)},
    {0, 0}};
