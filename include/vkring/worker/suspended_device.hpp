// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_SUSPENDED_DEVICE_HPP
#define VKRING_WORKER_SUSPENDED_DEVICE_HPP

// A device that nobody serves for the moment, on its way to whoever takes it up.

#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/fd_passing.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/worker/device_config.hpp>
#include <vkring/worker/device_state.hpp>
#include <vkring/worker/device_state_code.hpp>

namespace vkring::inline v0 {

/// Who is to serve the rings of a device that is taken up.
struct resume_options {
  backend_kind backend = backend_kind::automatic;  ///< who serves the rings
  worker_options worker = {};                      ///< for the worker
  vhost_options vhost = {};                        ///< for vhost-net
};

/// What `device::suspend` gives and `device::resume` takes. What the kernel has for the interface
/// waits in its queue meanwhile. An interface that is not persistent goes with the last copy of the
/// descriptors.
///
/// Move-only. Thread-safety: one thread at a time. Allocation: everywhere.
template <class Sys = posix>
struct basic_suspended_device {
  static constexpr std::size_t fds_of_device = 2;  ///< the memfds of the rings and of the source
  static constexpr std::size_t fds_of_pair = 5;    ///< TAP queue, tx kick, tx call, rx kick, rx call
  /// Of 256 queue pairs, the most there can be.
  static constexpr std::size_t most_fds = fds_of_device + 256 * fds_of_pair;
  /// Of a message that `receive` takes.
  static constexpr std::size_t most_bytes = std::size_t{1} << 28;

  device_state state;              ///< of its rings, its queues and its source
  std::vector<basic_fd<Sys>> fds;  ///< of the device, then of each pair
  /// The backend that was stopped: to close vhost-net takes the kernel longer than all the rest,
  /// and nobody has to wait for it.
  std::shared_ptr<void> stopped = {};

  /// Sends a copy of it over a connected Unix socket. This one stays what it is, and can be resumed
  /// by its owner as long as nobody else did. Errors: those of `send_parcel`.
  result<void> send(int socket) const {
    std::vector<int> numbers;
    for (const basic_fd<Sys>& each : fds) numbers.push_back(each.get());
    return send_parcel<Sys>(socket, encode(state), numbers);
  }
  /// Receives one. Errors: those of `receive_parcel` and of `from_parts`.
  static result<basic_suspended_device> receive(int socket) {
    auto parcel = receive_parcel<Sys>(socket, most_bytes, most_fds);
    if (!parcel) return fail(std::move(parcel.error()));
    return from_parts(parcel->bytes, std::move(parcel->fds));
  }
  /// One from what was sent in some other way: the bytes that `encode(state)` made, and the
  /// descriptors in their order, which are closed on failure. Errors: those of `decode`; EBADMSG
  /// for another number of descriptors.
  static result<basic_suspended_device> from_parts(std::span<const std::byte> bytes,
                                                   std::vector<basic_fd<Sys>> fds) {
    auto state = decode(bytes);
    if (!state) return fail(std::move(state.error()));
    const std::size_t needed = fds_of_device + state->pairs.size() * fds_of_pair;
    if (fds.size() != needed) {
      return fail(EBADMSG, "receive", state->name,
                  std::to_string(fds.size()) + " descriptors, needs " + std::to_string(needed));
    }
    return basic_suspended_device{std::move(*state), std::move(fds), {}};
  }
};
using suspended_device = basic_suspended_device<>;

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_SUSPENDED_DEVICE_HPP
