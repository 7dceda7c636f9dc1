// SPDX-License-Identifier: BSD-3-Clause

// The installed kernel headers' view of the bits that net/features.hpp defines anew. Those of
// Debian 12 end with Linux 6.1, so newer bits are compared where they are there.

#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

const struct {
  const char* name;
  int bit;
} uapi_features[] = {
    {"csum", VIRTIO_NET_F_CSUM},
    {"guest_csum", VIRTIO_NET_F_GUEST_CSUM},
    {"ctrl_guest_offloads", VIRTIO_NET_F_CTRL_GUEST_OFFLOADS},
    {"mtu", VIRTIO_NET_F_MTU},
    {"mac", VIRTIO_NET_F_MAC},
    {"guest_tso4", VIRTIO_NET_F_GUEST_TSO4},
    {"guest_tso6", VIRTIO_NET_F_GUEST_TSO6},
    {"guest_ecn", VIRTIO_NET_F_GUEST_ECN},
    {"guest_ufo", VIRTIO_NET_F_GUEST_UFO},
    {"host_tso4", VIRTIO_NET_F_HOST_TSO4},
    {"host_tso6", VIRTIO_NET_F_HOST_TSO6},
    {"host_ecn", VIRTIO_NET_F_HOST_ECN},
    {"host_ufo", VIRTIO_NET_F_HOST_UFO},
    {"mrg_rxbuf", VIRTIO_NET_F_MRG_RXBUF},
    {"status", VIRTIO_NET_F_STATUS},
    {"ctrl_vq", VIRTIO_NET_F_CTRL_VQ},
    {"ctrl_rx", VIRTIO_NET_F_CTRL_RX},
    {"ctrl_vlan", VIRTIO_NET_F_CTRL_VLAN},
    {"ctrl_rx_extra", VIRTIO_NET_F_CTRL_RX_EXTRA},
    {"guest_announce", VIRTIO_NET_F_GUEST_ANNOUNCE},
    {"mq", VIRTIO_NET_F_MQ},
    {"ctrl_mac_addr", VIRTIO_NET_F_CTRL_MAC_ADDR},
    {"notify_on_empty", VIRTIO_F_NOTIFY_ON_EMPTY},
    {"vhost_log_all", VHOST_F_LOG_ALL},
    {"any_layout", VIRTIO_F_ANY_LAYOUT},
    {"any_layout", VHOST_NET_F_VIRTIO_NET_HDR},
    {"indirect_desc", VIRTIO_RING_F_INDIRECT_DESC},
    {"event_idx", VIRTIO_RING_F_EVENT_IDX},
    {"version_1", VIRTIO_F_VERSION_1},
    {"access_platform", VIRTIO_F_ACCESS_PLATFORM},
    {"ring_packed", VIRTIO_F_RING_PACKED},
    {"in_order", VIRTIO_F_IN_ORDER},
    {"order_platform", VIRTIO_F_ORDER_PLATFORM},
    {"sr_iov", VIRTIO_F_SR_IOV},
    {"ring_reset", VIRTIO_F_RING_RESET},
    {"notf_coal", VIRTIO_NET_F_NOTF_COAL},
    {"hash_report", VIRTIO_NET_F_HASH_REPORT},
    {"rss", VIRTIO_NET_F_RSS},
    {"rsc_ext", VIRTIO_NET_F_RSC_EXT},
    {"standby", VIRTIO_NET_F_STANDBY},
    {"speed_duplex", VIRTIO_NET_F_SPEED_DUPLEX},
#ifdef VIRTIO_F_NOTIFICATION_DATA
    {"notification_data", VIRTIO_F_NOTIFICATION_DATA},
#endif
#ifdef VIRTIO_NET_F_GUEST_USO4
    {"guest_uso4", VIRTIO_NET_F_GUEST_USO4},
    {"guest_uso6", VIRTIO_NET_F_GUEST_USO6},
    {"host_uso", VIRTIO_NET_F_HOST_USO},
#endif
#ifdef VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO
    {"guest_udp_tunnel_gso", VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO},
    {"guest_udp_tunnel_gso_csum", VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM},
    {"host_udp_tunnel_gso", VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO},
    {"host_udp_tunnel_gso_csum", VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM},
#endif
    {0, 0},
};
