// SPDX-License-Identifier: BSD-3-Clause
#ifndef LWIP_CHECKSUMS_HPP
#define LWIP_CHECKSUMS_HPP

// Which checksums of TCP and UDP lwIP still has to look at.

struct pbuf;

namespace lwip_example {

/// Tells whether the checksum of a received packet needs no verification.
using is_verified = bool (*)(const pbuf* packet) noexcept;

/// From now on lwIP computes no checksum of a packet that it sends whole, which the interface has to
/// do then, and of what it receives verifies those alone that `known` does not vouch for. Null: it
/// does all of them. For the time that lwIP has but one thread.
void offload_checksums(is_verified known) noexcept;

}  // namespace lwip_example

#endif  // LWIP_CHECKSUMS_HPP
