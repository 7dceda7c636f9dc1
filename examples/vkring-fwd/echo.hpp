// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_ECHO_HPP
#define VKRING_FWD_ECHO_HPP

// The other end of a TAP, as far as ping needs one: answers to ARP, neighbour solicitations and
// echo requests, made in the frames that asked.

#include <optional>
#include <vkring/memory/frame.hpp>
#include <vkring/net/ip_prefix.hpp>
#include <vkring/net/mac.hpp>

namespace fwd {

/// Who answers.
struct echo_host {
  vkring::mac_address mac = {0x02, 0x76, 0x6b, 0x72, 0x6e, 0x67};
  std::optional<vkring::ip_prefix> kernel;  ///< the kernel's own address, for which nobody answers
};

/// Turns a received request into the answer to it. False: there is nothing to answer, and the frame
/// is as it was. Questions of the kernel whether an address of its own is free have no answer.
[[nodiscard]] bool answer(vkring::frame& request, const echo_host& host) noexcept;

}  // namespace fwd

#endif  // VKRING_FWD_ECHO_HPP
