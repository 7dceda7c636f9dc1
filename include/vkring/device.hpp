// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DEVICE_HPP
#define VKRING_DEVICE_HPP

// The front door: a kernel network interface, and queues that exchange frames with it.
//
// In this library `device` is the application's handle on the interface. Its rings are the *driver*
// side of virtio; the virtio device, the `device_side`, is the peer: vhost-net or the worker.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/link.hpp>
#include <vkring/memory/buffer_pool.hpp>
#include <vkring/net/mac.hpp>
#include <vkring/net/offload.hpp>
#include <vkring/queue/forward.hpp>
#include <vkring/queue/statistics.hpp>
#include <vkring/ring/inspect.hpp>
#include <vkring/ring/inspect_packed.hpp>
#include <vkring/worker/device_config.hpp>
#include <vkring/worker/device_parts.hpp>
#include <vkring/worker/hand_over.hpp>
#include <vkring/worker/health.hpp>
#include <vkring/worker/suspended_device.hpp>

namespace vkring::inline v0 {

/// A kernel network interface with queues of frames.
///
/// `Layout` is that of all its rings: split, or packed, which only the worker serves.
///
/// Threads: each `tx(i)` and each `rx(i)` is used by one thread at a time, different ones by different
/// threads freely; `statistics`, modes and eventfds from any thread; the rest by one thread. Frames
/// may outlive the device, never its source.
/// Allocation: in `open`, the texts of errors, the lists of reports; none by the queues and `wait`.
/// In a forked child the control calls are errors (EPERM), its queues must not be touched, and its
/// destruction leaves the parent's device alone.
template <class Layout = split, buffer_source Source = buffer_pool, class Sys = posix,
          class Worker = basic_tap_worker<Layout, Sys>>
class basic_device {
  using pair_type = queue_pair<Layout, Source, Sys>;
  using parts = detail::device_parts<Layout, Source, Sys, Worker>;

 public:
  /// @{
  /// Short names for what goes with this kind of device.
  using config = basic_device_config<Sys>;
  using suspended = basic_suspended_device<Sys>;
  using frame = basic_frame<Source>;
  using source_type = Source;
  using tx_type = typename pair_type::tx_type;
  using rx_type = typename pair_type::rx_type;
  /// @}

  /// Opens or attaches to the interface, negotiates, and starts the backend. The rx rings fill up
  /// with buffers at once: `source` needs more than these hold, or there is nothing left to send. For
  /// each queue pair, 2.5 times the queue size and 160 are always enough, the caches of its queues
  /// included, as long as each frame is in one buffer; to that add the frames that the application
  /// holds. A frame of 64 KB (TSO and USO on the way in) is in 33 buffers of 2 KB, and a tx ring takes
  /// a frame for each descriptor: with a smaller source, `reclaim` tx queues when nothing comes.
  ///
  /// Errors name the step and what to do: a bad name, size or number of queues (EINVAL); what was
  /// required and cannot be had (ENOTSUP, with the reason); a queue that another device of this
  /// process serves (EBUSY); what the TAP, the link, the memory and
  /// the threads return. Nothing is left behind then; an interface that was there before keeps the
  /// MAC address, MTU and addresses that it got up to the step that failed.
  static result<basic_device> open(config wanted, std::shared_ptr<Source> source) {
    auto made = parts_pointer(new parts(std::move(source)));
    if (auto opened = made->open(wanted); !opened) return fail(std::move(opened.error()));
    return basic_device(std::move(made));
  }

  /// Stops the backend with everything where it is, for this or another process to go on from there:
  /// what was sent and not taken yet, what was received and not collected, settings, counters.
  /// Afterwards the device can only be destroyed or assigned to, and its source has no buffers
  /// left. For the time that nobody uses its queues.
  ///
  /// Errors, nothing being changed then: EBUSY (buffers are out, with their number; segments are on
  /// their way); ENOTSUP for a source in private memory; EIO for a ring that is broken; what copying
  /// descriptors returns.
  result<suspended> suspend()
    requires shareable_source<Source>
  {
    if (auto mine = parts_->not_forked(); !mine) return fail(std::move(mine.error()));
    auto made = detail::hand_over<parts>::suspend(*parts_);
    if (made) parts_.reset();
    return made;
  }
  /// Goes on with a device that came to rest in this process or another one, with a backend of its
  /// own. Memory and descriptors are taken over, everything about them is checked; the source is a
  /// new object over the same buffers. Kernel and layout are the same; the backend need not be.
  ///
  /// Errors, `from` being unchanged then: EBADMSG (no device can have that state); EINVAL (a
  /// descriptor or memory is not what it should be); EBUSY (another process has taken it up);
  /// ENOTSUP (the backend lacks what was agreed on); as for `open` otherwise. Afterwards `from` is
  /// empty.
  static result<basic_device> resume(suspended&& from, const resume_options& how = {})
    requires shareable_source<Source>
  {
    auto made = parts_pointer(new parts(nullptr));
    auto done = detail::hand_over<parts>::resume(*made, from, how);
    if (!done) return fail(std::move(done.error()));
    from = {};
    return basic_device(std::move(made));
  }
  /// How long nobody served its rings when it was last resumed; 0 for one that was opened.
  [[nodiscard]] std::chrono::nanoseconds gap() const noexcept { return parts_->gap; }

  /// Queue pairs, enabled or not.
  [[nodiscard]] std::size_t queue_pairs() const noexcept { return parts_->pairs.size(); }
  /// @{
  /// The queues of a pair, each for one thread at a time. `pair` is below `queue_pairs()`.
  [[nodiscard]] tx_type& tx(std::size_t pair) noexcept { return parts_->pairs[pair]->tx(); }
  [[nodiscard]] rx_type& rx(std::size_t pair) noexcept { return parts_->pairs[pair]->rx(); }
  /// @}

  /// The interface, as the kernel knows it.
  [[nodiscard]] const std::string& name() const noexcept { return parts_->taps.front().name(); }
  /// Its number in its network namespace, which stays when it is renamed.
  [[nodiscard]] int index() const noexcept { return parts_->link->index(); }
  /// The address of the kernel's end. Errors: ENOTSUP on a TUN.
  [[nodiscard]] result<mac_address> mac() const {
    if (auto mine = parts_->not_forked(); !mine) return fail(std::move(mine.error()));
    return parts_->taps.front().mac();
  }
  /// Its state and the kernel's counters; from the kernel's point of view.
  [[nodiscard]] result<link_state> link() {
    return control([](auto& link) { return link.read(); });
  }
  /// Settings of the interface; errors as those of `basic_link`.
  result<void> set_up(bool up) {
    return control([up](auto& link) { return link.set_up(up); });
  }
  /// Beyond what the negotiation reckoned with, a device without mergeable buffers loses frames.
  result<void> set_mtu(std::uint32_t bytes) {
    return control([bytes](auto& link) { return link.set_mtu(bytes); });
  }
  /// Errors: EADDRNOTAVAIL for a group address or all zeros, ENOTSUP on a TUN.
  result<void> set_mac(const mac_address& mac) {
    return control([&mac](auto& link) { return link.set_mac(mac); });
  }
  /// Tells the kernel that the link is there, which it is from the start, or not: then nothing is
  /// routed through the interface. What the kernel's side did, `link` says: `up`, `carrier`, `mtu`.
  result<void> set_carrier(bool on) {
    if (auto mine = parts_->not_forked(); !mine) return mine;
    return parts_->taps.front().set_carrier(on);
  }
  /// One more address for the kernel's end. No error if it is there already.
  result<void> add_address(const ip_prefix& address) {
    return control([&address](auto& link) { return link.add_address(address); });
  }

  /// Takes a queue pair out of the kernel's choice, or back into it. Then no frames come to `rx(pair)`
  /// but those that are in its ring, and what is sent to `tx(pair)` waits there. Frames that were sent
  /// before are taken first; the few that lie in the TAP's own queue at that moment are lost.
  /// Without any pair the kernel drops what is for the interface, and counts it. Errors: EINVAL for
  /// a device of one pair that is not multi-queue; what TUNSETQUEUE and VHOST_NET_SET_BACKEND
  /// return, nothing being changed then.
  result<void> set_enabled(std::size_t pair, bool on) {
    if (auto mine = parts_->not_forked(); !mine) return mine;
    return parts_->set_enabled(pair, on);
  }
  /// As `set_enabled` left it; true from the start.
  [[nodiscard]] bool enabled(std::size_t pair) const noexcept { return parts_->enabled[pair]; }
  /// Has a loaded BPF program of type SOCKET_FILTER choose the queue pair of each frame, instead of the
  /// kernel's flow hash; -1 ends that. Errors: EINVAL when it is no such program.
  result<void> set_steering(int program_fd) {
    if (auto mine = parts_->not_forked(); !mine) return mine;
    return parts_->taps.front().set_steering(program_fd);
  }

  /// What was negotiated, with a line for every feature.
  [[nodiscard]] const offload_plan& plan() const noexcept { return parts_->plan; }
  /// `vhost-net` or `worker`, and why that.
  [[nodiscard]] std::string_view backend() const noexcept {
    return parts_->vhost ? parts::vhost_name : parts::worker_name;
  }
  /// Why that one: `asked for`, `it works here`, or what is wrong with the other.
  [[nodiscard]] std::string_view backend_reason() const noexcept { return parts_->reason; }
  /// Where its buffers come from.
  [[nodiscard]] Source& source() noexcept { return *parts_->source; }
  /// The same, to be kept for as long as frames of the device, or for another device.
  [[nodiscard]] std::shared_ptr<Source> shared_source() const noexcept { return parts_->source; }

  /// Readable when frames came to `rx(pair)`, after its `enable_call`; until `drain`, which `wait`
  /// leaves to whoever polls it.
  [[nodiscard]] const basic_event_fd<Sys>& rx_call(std::size_t pair) const noexcept {
    return parts_->pairs[pair]->notifications().rx_call;
  }
  /// Readable when frames of `tx(pair)` were taken, after its `enable_call`.
  [[nodiscard]] const basic_event_fd<Sys>& tx_call(std::size_t pair) const noexcept {
    return parts_->pairs[pair]->notifications().tx_call;
  }
  /// A descriptor that is readable when `health`, which makes an end of that, has something new to
  /// tell that the device side found out. What the application's side found out is in
  /// `rx(pair).ring().breach()`.
  [[nodiscard]] int error_fd() const noexcept { return parts_->troubles->fd(); }

  /// Sleeps until a frame has come to any queue, something is wrong, or the time is over; negative
  /// means for ever. True: there is something to look at, or perhaps was. An interrupting signal
  /// ends it, as false. Uses every `rx(i)`: with a thread for each, poll `rx_call(i)` instead. While
  /// one of them is `starved`, it returns each millisecond, as true.
  ///
  /// Wrong is what `health` tells but for a stall, which nobody signals: a ring that is broken on
  /// either side, an interface that was deleted. What does not end it: an interface that goes down or
  /// up, or is changed otherwise, of which `link_events` tells in a descriptor of its own; room in a
  /// full tx ring (`tx_call`), and segments that `finished` would return.
  bool wait(std::chrono::nanoseconds timeout) noexcept {
    bool pending = false;
    bool starving = false;
    std::size_t broken = 0;
    for (std::size_t i = 0; i < queue_pairs(); ++i) {
      pending = rx(i).enable_call() == notification::more_pending || pending;
      starving = starved(i) || starving;
      broken += (rx(i).ring().breach() ? 1u : 0u) + (tx(i).ring().breach() ? 1u : 0u);
    }
    // A queue that broke has nothing pending ever more: it is told of once.
    if (std::exchange(parts_->broken, broken) != broken) pending = true;
    constexpr std::chrono::nanoseconds moment = std::chrono::milliseconds(1);
    if (starving && (timeout.count() < 0 || timeout > moment)) timeout = moment;
    const bool woken = !pending && parts_->wake_ups->wait(timeout);
    for (std::size_t i = 0; i < queue_pairs(); ++i) rx(i).disable_call();
    return pending || woken || starving;
  }
  /// Whether the source had no buffers any more for the rx ring of a pair, which now lacks some for
  /// the largest frame that may come. Nobody tells when there are buffers again: look at it after
  /// `rx(pair).enable_call()`, and do not sleep for long. `reclaim` of the tx queues on the same
  /// source gives back what they hold. Belongs to the thread of `rx(pair)`.
  [[nodiscard]] bool starved(std::size_t pair) const noexcept {
    const auto& ring = parts_->pairs[pair]->rx().ring();
    return ring.in_flight() < parts_->rx_needs && !ring.breach();
  }

  /// @{
  /// What a queue has counted, and what it dropped by reason. From any thread.
  [[nodiscard]] queue_statistics tx_statistics(std::size_t pair) const {
    return snapshot(parts_->pairs[pair]->tx().counters());
  }
  [[nodiscard]] queue_statistics rx_statistics(std::size_t pair) const {
    return snapshot(parts_->pairs[pair]->rx().counters());
  }
  /// @}
  /// What the worker counted for a queue pair: frames that the kernel refused, calls. Null with
  /// vhost-net, which counts nothing: what it drops is in the counters of `link`.
  [[nodiscard]] const worker_counters* worker_statistics(std::size_t pair) const noexcept {
    return parts_->vhost ? nullptr : &parts_->worker->counters(pair);
  }
  /// The thread of the kernel that serves a queue pair, with vhost-net; 0: the worker does, or it
  /// could not be found.
  [[nodiscard]] pid_t vhost_thread(std::size_t pair) const noexcept {
    return parts_->vhost ? parts_->vhost->thread(pair) : 0;
  }

  /// Frames in the tx ring of a pair that the device side has not taken yet. From any thread.
  [[nodiscard]] std::uint16_t tx_waiting(std::size_t pair) const noexcept {
    return parts_->progress(pair).waiting;
  }

  /// Whether a queue stores its chains in the fast way at the moment.
  [[nodiscard]] ring_mode tx_mode(std::size_t pair) const noexcept {
    return mode_of(parts_->pairs[pair]->tx().ring());
  }
  /// See `tx_mode`.
  [[nodiscard]] ring_mode rx_mode(std::size_t pair) const noexcept {
    return mode_of(parts_->pairs[pair]->rx().ring());
  }

  /// Looks at every queue pair. A pair has stalled when frames are waiting in its tx ring and none was
  /// taken since a call of `health` at least `stall_after` ago.
  [[nodiscard]] std::vector<queue_health> health(
      std::chrono::nanoseconds stall_after = std::chrono::seconds(1)) {
    std::vector<queue_health> all(queue_pairs());
    const auto now = ring_motion::clock::now();
    parts_->take_note();
    for (std::size_t i = 0; i < all.size(); ++i) {
      const pair_type& pair = *parts_->pairs[i];
      const bool stalled = parts_->motions[i].stalled(parts_->progress(i), now, stall_after);
      all[i] = parts_->far_health(i, stalled && enabled(i));
      all[i].tx = pair.tx().ring().breach();
      all[i].rx = pair.rx().ring().breach();
    }
    return all;
  }
  /// After what vhost-net stumbled over was mended: forgets what `health` told of the device side of
  /// a pair, and has the device look at its rings once more. The worker does not take up a ring again
  /// that it has found broken. Errors: ENOTSUP with the worker.
  result<void> recover(std::size_t pair) {
    if (auto mine = parts_->not_forked(); !mine) return mine;
    if (!parts_->vhost) {
      return fail(std::errc::not_supported, "recover", name(),
                  "the worker gives up a ring for good: open the device anew");
    }
    parts_->vhost->recover(pair);
    return {};
  }

  /// The rings of a queue pair as they lie in memory, `to_text` and `to_json` print them. For the
  /// threads of its queues, or while those stand still. Allocation: the snapshots.
  [[nodiscard]] auto inspect_tx(std::size_t pair) const {
    const pair_type& it = *parts_->pairs[pair];
    if constexpr (parts::is_packed) {
      return inspect(it.tx_ring(), it.tx().ring());
    } else {
      return inspect(it.tx_ring(), it.tx().ring(), table_lookup{it.tables(), it.tx_ring().size()});
    }
  }
  /// See `inspect_tx`.
  [[nodiscard]] auto inspect_rx(std::size_t pair) const {
    const pair_type& it = *parts_->pairs[pair];
    return inspect(it.rx_ring(), it.rx().ring());
  }

  /// Stops the backend and gives every buffer in flight back to the source; the interface goes unless
  /// it is persistent. Frames in the rx ring are lost. The destructor does it. Afterwards the
  /// device can only be destroyed or assigned to.
  void close() noexcept { parts_.reset(); }

 private:
  // A forked child has neither the threads to join nor the rings to clear, and its parent goes on.
  struct closer {
    void operator()(parts* what) const noexcept {
      if (Sys::getpid() == what->owner) {
        delete what;
      } else {
        what->claims.clear();
        what->taps.clear();
        what->vhost.reset();
      }
    }
  };
  using parts_pointer = std::unique_ptr<parts, closer>;

  explicit basic_device(parts_pointer made) noexcept : parts_(std::move(made)) {}

  // Calls `work` with the link, in the process that opened it.
  template <class Work>
  auto control(Work&& work) -> std::invoke_result_t<Work&, basic_link<Sys>&> {
    if (auto mine = parts_->not_forked(); !mine) return fail(std::move(mine.error()));
    return work(*parts_->link);
  }
  template <class Ring>
  [[nodiscard]] static ring_mode mode_of(const Ring& ring) noexcept {
    return ring.general_entries() == ring.fast_entries() ? ring_mode::fast : ring_mode::general;
  }

  parts_pointer parts_;
};

using device = basic_device<>;

}  // namespace vkring::inline v0

#endif  // VKRING_DEVICE_HPP
