// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_VKRING_HPP
#define VKRING_VKRING_HPP

// All of vkring but its optional parts: io_uring.hpp, fmt.hpp and dpdk/.

#include <vkring/core/access.hpp>
#include <vkring/core/counter.hpp>
#include <vkring/core/endian.hpp>
#include <vkring/core/error.hpp>
#include <vkring/core/set_once.hpp>
#include <vkring/device.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/link.hpp>
#include <vkring/kernel/netlink.hpp>
#include <vkring/kernel/netlink_abi.hpp>
#include <vkring/kernel/netns.hpp>
#include <vkring/kernel/preflight.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/kernel/tap.hpp>
#include <vkring/kernel/tap_control.hpp>
#include <vkring/kernel/tap_options.hpp>
#include <vkring/kernel/tun_abi.hpp>
#include <vkring/memory/buffer_arena.hpp>
#include <vkring/memory/buffer_pool.hpp>
#include <vkring/memory/buffer_source.hpp>
#include <vkring/memory/frame.hpp>
#include <vkring/memory/region.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/net/checksum.hpp>
#include <vkring/net/features.hpp>
#include <vkring/net/header.hpp>
#include <vkring/net/ip_prefix.hpp>
#include <vkring/net/mac.hpp>
#include <vkring/net/offload.hpp>
#include <vkring/net/offload_rules.hpp>
#include <vkring/net/packet.hpp>
#include <vkring/net/segment.hpp>
#include <vkring/net/tun_offload.hpp>
#include <vkring/net/wanted.hpp>
#include <vkring/queue/counters.hpp>
#include <vkring/queue/forward.hpp>
#include <vkring/queue/handle_cache.hpp>
#include <vkring/queue/rules.hpp>
#include <vkring/queue/rx_queue.hpp>
#include <vkring/queue/statistics.hpp>
#include <vkring/queue/tx_queue.hpp>
#include <vkring/ring/chain.hpp>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/fault.hpp>
#include <vkring/ring/index.hpp>
#include <vkring/ring/inspect.hpp>
#include <vkring/ring/layout.hpp>
#include <vkring/ring/shared.hpp>
#include <vkring/ring/slots.hpp>
#include <vkring/ring/split.hpp>
#include <vkring/ring/split_device.hpp>
#include <vkring/ring/split_driver.hpp>
#include <vkring/version.hpp>
#include <vkring/worker/counters.hpp>
#include <vkring/worker/health.hpp>
#include <vkring/worker/lined_up_buffers.hpp>
#include <vkring/worker/queue_pair.hpp>
#include <vkring/worker/tap_queue.hpp>
#include <vkring/worker/tap_worker.hpp>

#endif  // VKRING_VKRING_HPP
