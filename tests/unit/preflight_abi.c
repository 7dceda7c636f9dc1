// SPDX-License-Identifier: BSD-3-Clause

// The installed kernel headers' view of the constants that kernel/preflight.hpp defines anew.

#include <linux/capability.h>
#include <linux/virtio_config.h>

const unsigned long uapi_preflight_values[] = {
    VIRTIO_F_VERSION_1,
    _LINUX_CAPABILITY_VERSION_3,
    CAP_NET_ADMIN,
    sizeof(struct __user_cap_header_struct),
    sizeof(struct __user_cap_data_struct),
};
