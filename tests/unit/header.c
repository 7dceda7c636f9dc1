// SPDX-License-Identifier: BSD-3-Clause

// The installed kernel headers' view of the frame header.

#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>

// Writes the header to `to` in the order of the host and returns its size.
unsigned uapi_header(unsigned char* to, unsigned flags, unsigned gso_type, unsigned hdr_len,
                     unsigned gso_size, unsigned csum_start, unsigned csum_offset,
                     unsigned num_buffers) {
  struct virtio_net_hdr_mrg_rxbuf header;
  memset(&header, 0, sizeof header);
  header.hdr.flags = (unsigned char)flags;
  header.hdr.gso_type = (unsigned char)gso_type;
  header.hdr.hdr_len = (unsigned short)hdr_len;
  header.hdr.gso_size = (unsigned short)gso_size;
  header.hdr.csum_start = (unsigned short)csum_start;
  header.hdr.csum_offset = (unsigned short)csum_offset;
  header.num_buffers = (unsigned short)num_buffers;
  memcpy(to, &header, sizeof header);
  return sizeof header;
}

const unsigned uapi_header_values[] = {
    VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_F_DATA_VALID, VIRTIO_NET_HDR_F_RSC_INFO,
    VIRTIO_NET_HDR_GSO_NONE,     VIRTIO_NET_HDR_GSO_TCPV4,    VIRTIO_NET_HDR_GSO_UDP,
    VIRTIO_NET_HDR_GSO_TCPV6,    VIRTIO_NET_HDR_GSO_ECN,
};
