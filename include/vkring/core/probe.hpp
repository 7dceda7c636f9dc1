// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_CORE_PROBE_HPP
#define VKRING_CORE_PROBE_HPP

// Static probes (USDT) of the provider `vkring`, for bpftrace, perf and SystemTap.
//
// A probe is a nop and a note in the program about where it is, which costs nothing else as long as nobody
// has attached to it. Without <sys/sdt.h> (Debian: systemtap-sdt-dev) there are none.

#include <cstddef>
#include <cstdint>

/// @cond
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define VKRING_PROBE(arguments, ...) STAP_PROBE##arguments(vkring, __VA_ARGS__)
#else
#define VKRING_PROBE(arguments, ...) static_cast<void>(0)
#endif
/// @endcond

namespace vkring::inline v0::probe {

// Inlined, so that each place in a program is one of its own, with the arguments where they are there.

/// `vkring:kick(eventfd)`: a queue notifies its device by that descriptor.
[[gnu::always_inline]] inline void kick([[maybe_unused]] int eventfd) noexcept {
  VKRING_PROBE(1, kick, eventfd);
}
/// `vkring:call(eventfd)`: the worker notifies a queue by that descriptor, which is the device's `rx_call` or
/// `tx_call`. vhost-net's calls come from the kernel.
[[gnu::always_inline]] inline void call([[maybe_unused]] int eventfd) noexcept {
  VKRING_PROBE(1, call, eventfd);
}
/// `vkring:drop(queue, reason)`: a queue drops a frame; `reason` is its index in the queue's `drops`.
/// `queue` is the address of its counters.
[[gnu::always_inline]] inline void drop([[maybe_unused]] const void* queue,
                                        [[maybe_unused]] std::size_t reason) noexcept {
  VKRING_PROBE(2, drop, queue, reason);
}
/// `vkring:broken(ring, fault, position, value)`: one side of a ring, which lies at `ring`, finds that
/// the other broke its rules; the numbers are those of a `ring_breach`.
[[gnu::always_inline]] inline void broken([[maybe_unused]] const void* ring,
                                          [[maybe_unused]] unsigned fault,
                                          [[maybe_unused]] std::uint16_t position,
                                          [[maybe_unused]] std::uint64_t value) noexcept {
  VKRING_PROBE(4, broken, ring, fault, position, value);
}

}  // namespace vkring::inline v0::probe

#undef VKRING_PROBE

#endif  // VKRING_CORE_PROBE_HPP
