// SPDX-License-Identifier: BSD-3-Clause

// The installed kernel headers' view of a split ring, over memory that ring_abi.cpp reads.

#include <endian.h>
#include <linux/virtio_ring.h>

const unsigned uapi_ring_values[] = {
    VRING_DESC_F_NEXT,      VRING_DESC_F_WRITE,         VRING_DESC_F_INDIRECT,
    VRING_USED_F_NO_NOTIFY, VRING_AVAIL_F_NO_INTERRUPT, VRING_AVAIL_ALIGN_SIZE,
    VRING_USED_ALIGN_SIZE,  VRING_DESC_ALIGN_SIZE,
};

// Writes 1 to the ring's first word, 2 to its second and so on.
void uapi_fill_ring(void* descriptors, void* avail, void* used, unsigned size) {
  struct vring ring;
  const unsigned last = size - 1;
  ring.num = size;
  ring.desc = descriptors;
  ring.avail = avail;
  ring.used = used;
  ring.desc[last].addr = htole64(1);
  ring.desc[last].len = htole32(2);
  ring.desc[last].flags = htole16(3);
  ring.desc[last].next = htole16(4);
  ring.avail->flags = htole16(5);
  ring.avail->idx = htole16(6);
  ring.avail->ring[last] = htole16(7);
  vring_used_event(&ring) = htole16(8);
  ring.used->flags = htole16(9);
  ring.used->idx = htole16(10);
  ring.used->ring[last].id = htole32(11);
  ring.used->ring[last].len = htole32(12);
  vring_avail_event(&ring) = htole16(13);
}

const unsigned uapi_packed_values[] = {
    1U << VRING_PACKED_DESC_F_AVAIL, 1U << VRING_PACKED_DESC_F_USED,
    VRING_PACKED_EVENT_FLAG_ENABLE,  VRING_PACKED_EVENT_FLAG_DISABLE,
    VRING_PACKED_EVENT_FLAG_DESC,    1U << VRING_PACKED_EVENT_F_WRAP_CTR,
};

// The same for a packed ring's descriptor and event structure.
void uapi_fill_packed(struct vring_packed_desc* descriptor, struct vring_packed_desc_event* event) {
  descriptor->addr = htole64(1);
  descriptor->len = htole32(2);
  descriptor->id = htole16(3);
  descriptor->flags = htole16(4);
  event->off_wrap = htole16(5);
  event->flags = htole16(6);
}

int uapi_need_event(unsigned event, unsigned now, unsigned before) {
  return vring_need_event((__u16)event, (__u16)now, (__u16)before);
}
