// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/worker/device_state.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vkring/memory/buffer_pool.hpp"
#include "vkring/memory/table.hpp"
#include "vkring/worker/device_state_code.hpp"
#include "vkring/worker/queue_pair.hpp"

// The state of a device as it travels: what comes back is the same, or is refused, or at the least leads to
// queues that lose no buffer and touch no foreign memory.

using namespace vkring;

namespace {

using bytes = std::vector<std::byte>;

constexpr std::uint16_t queue_size = 8;

// One queue pair at rest: frames of one and of three buffers are in the tx ring; two frames came and were not received.
template <class Layout>
struct resting_pair {
  using pair_type = queue_pair<Layout, buffer_pool>;
  using ring_type = typename Layout::ring_type;
  static constexpr bool is_packed = std::is_same_v<Layout, packed>;

  std::shared_ptr<buffer_pool> pool =
      buffer_pool::make({.buffers = 32, .buffer_size = 256, .memory = {.shareable = true}}).value();
  device_state state;
  offload_plan plan;
  queue_pair_layout layout;
  region memory;
  bytes before;

  resting_pair(bool in_order, bool indirect)
      : state(agreed_state(*pool, in_order, indirect)),
        plan(state.agreed.plan({"test", {}}).value()),
        layout{queue_size, queue_size,
               indirect ? queue_pair_layout::entries_for(256) : std::uint16_t{0}},
        memory(region::make(layout.bytes<ring_type>()).value()) {
    memory_table table;
    pair_type pair(pair_type::events::create().value(), memory.bytes(), 0x1000, layout, options(),
                   plan, table, *pool);
    frame frames[4];
    REQUIRE(pair.tx().allocate(frames) == 4);
    for (frame& each : frames) each.resize(100);
    frames[1].append(std::move(frames[2]));
    frames[1].append(std::move(frames[3]));
    REQUIRE(pair.tx().send({frames, 2}) == 2);
    table.add_at(0x1000, memory.bytes()).value();
    table.add_at(pool->regions()[0].guest, pool->memory().bytes()).value();
    virtqueue<Layout, device_side, table_cursor> device(pair.rx_ring(), options(),
                                                        table_cursor(table));
    device.pop(2, [&](const device_chain& chain) {
      std::memset(chain.writable[0].data(), 0, 112);
      chain.writable[0][10] = std::byte{1};  // num_buffers
      device.push_used(chain.head, 112);
    });
    device.publish();
    pair.tx().settle();
    pair.rx().settle();
    state.pairs.push_back({true, pair.tx().state(), pair.rx().state(), {}, {}});
    if constexpr (is_packed) state.pairs[0].rx.ring.device_at = device.next_used().start(queue_size);
    state.pairs[0].counters.tx_frames.add(77);
    before.assign(memory.bytes().begin(), memory.bytes().end());
  }

  static device_state agreed_state(const buffer_pool& pool, bool in_order, bool indirect) {
    device_state made;
    made.name = "tap7";
    made.queue_size = queue_size;
    made.source = pool.shape();
    made.agreed.asked.offloads = wanted_offloads::all(want::off);
    made.agreed.asked.in_order = in_order ? want::required : want::off;
    made.agreed.asked.indirect = indirect ? want::required : want::off;
    made.agreed.asked.buffer_bytes = pool.capacity() + 12;
    made.agreed.asked.queue_size = queue_size;
    made.agreed.asked.packed = is_packed ? want::required : want::off;
    made.agreed.offered = {feature::version_1, feature::ring_packed, feature::event_idx, feature::in_order,
                           feature::indirect_desc, feature::mrg_rxbuf};
    made.agreed.able.vnet_hdr = true;
    made.agreed.able.mtu = 200;
    return made;
  }
  [[nodiscard]] ring_type rx_ring() { return pair_type::rx_ring_in(memory.bytes(), layout); }
  [[nodiscard]] ring_options options() const { return options_of(plan).of_size(queue_size); }

  // Goes on with some state that was not refused, as resume does; false when it is refused now.
  bool go_on(const device_state& some) {
    auto busy = buffers_in_flight(some);
    if (!busy || some.queue_size != queue_size || some.pairs.size() != 1) return false;
    std::copy(before.begin(), before.end(), memory.bytes().begin());
    const offload_plan again = some.agreed.plan({"test", {}}).value();
    const queue_pair_layout other{
        queue_size, queue_size, again.indirect ? queue_pair_layout::entries_for(256) : std::uint16_t{0}};
    if (other.bytes<ring_type>() > memory.bytes().size()) return false;
    if (!flaw(some.pairs[0].tx.ring, pair_type::tx_ring_in(memory.bytes(), layout)).empty()) return false;
    if (!flaw(some.pairs[0].rx.ring, rx_ring()).empty()) return false;
    auto source = buffer_pool::from_fd(fd(::fcntl(pool->memfd(), F_DUPFD_CLOEXEC, 0)), some.source);
    if (!source) return false;
    (*source)->keep_out(*busy);
    {
      const memory_table table;
      pair_type pair(pair_type::events::create().value(), memory.bytes(), 0x1000, other,
                     options_of(again), again, table, **source, some.pairs[0].tx,
                     some.pairs[0].rx);
      frame frames[4];
      received = pair.rx().receive(frames);
      pair.rx().recycle(frames);
      const std::size_t n = pair.tx().allocate(frames);
      for (frame& each : frames) each.resize(100);
      static_cast<void>(pair.tx().send({frames, n}));
      static_cast<void>(pair.tx().unfinished());
      pair.tx().stop();
      pair.rx().stop();
    }
    CHECK((*source)->available() == (*source)->size());
    return true;
  }
  std::size_t received = 0;
};

// Why a state is refused after a change.
template <class Layout>
std::string refusal_of(void (*change)(device_state&)) {
  resting_pair<Layout> rest(false, false);
  change(rest.state);
  const auto made = buffers_in_flight(rest.state);
  return made ? std::string() : made.error().message();
}
void ends(const std::string& text, const std::string& end) {
  CAPTURE(text);
  CHECK(text.find(end) != text.npos);
}
using state = device_state;

// As a sender with bad intentions would.
void repair_sum(bytes& encoded) {
  store_big(encoded.data() + 12, detail::state_sum(std::span(encoded).subspan(20)));
}

}  // namespace

TEMPLATE_TEST_CASE("device state: what is encoded is decoded, and goes on where it was", "", split,
                   packed) {
  for (const bool in_order : {false, true}) {
    for (const bool indirect : {false, true}) {
      resting_pair<TestType> rest(in_order, indirect);
      const bytes encoded = encode(rest.state);
      const auto decoded = decode(encoded);
      REQUIRE(decoded);
      CHECK(encode(*decoded) == encoded);
      CHECK(decoded->name == "tap7");
      CHECK(decoded->pairs[0].counters.tx_frames.value() == 77);
      CHECK(decoded->pairs[0].tx.counts == std::vector<std::uint16_t>{1, 3});
      CHECK((decoded->pairs[0].tx.ring.mode == ring_mode::general) == !indirect);
      CHECK(decoded->pairs[0].tx.counters.frames.value() == 2);
      REQUIRE(rest.go_on(*decoded));
      CHECK(rest.received == 2);
    }
  }
}

TEST_CASE("device state: bytes that are cut or damaged are refused") {
  const bytes encoded = encode(resting_pair<split>(false, false).state);
  for (std::size_t size = 0; size < encoded.size(); ++size) {
    REQUIRE_FALSE(decode(std::span(encoded).first(size)));
  }
  for (std::size_t bit = 0; bit < 8 * encoded.size(); ++bit) {
    bytes damaged = encoded;
    damaged[bit / 8] ^= std::byte{1} << bit % 8;
    REQUIRE_FALSE(decode(damaged));
  }
  bytes longer = encoded;
  longer.push_back({});
  repair_sum(longer);
  CHECK(decode(longer).error().hint == "they are cut short or damaged");
  bytes other = encoded;
  other[9] ^= std::byte{1};
  CHECK(decode(other).error().hint.rfind("written by vkring ", 0) == 0);
  CHECK(decode({}).error().hint == "these are not the state of a device");
}

TEMPLATE_TEST_CASE("device state: what a sender with bad intentions makes of it does no harm", "", split,
                   packed) {
  for (const bool in_order : {false, true}) {
    for (const bool indirect : {false, true}) {
      resting_pair<TestType> rest(in_order, indirect);
      const bytes encoded = encode(rest.state);
      std::size_t accepted = 0;
      std::uint32_t random = 1;
      for (std::size_t bit = 160; bit < 8 * encoded.size(); ++bit) {
        bytes changed = encoded;
        changed[bit / 8] ^= std::byte{1} << bit % 8;
        if (bit % 3 == 0) {  // and another one
          random = random * 1664525u + 1013904223u;
          changed[20 + random % (changed.size() - 20)] ^= std::byte{1} << (random >> 8) % 8;
        }
        repair_sum(changed);
        const auto decoded = decode(changed);
        if (decoded && rest.go_on(*decoded)) ++accepted;
      }
      CHECK(accepted > 100);  // counters, for example, may be anything
    }
  }
}

TEST_CASE("device state: what no device can have is named") {
  const auto refusal = refusal_of<split>;
  CHECK(refusal([](state&) {}).empty());
  ends(refusal([](state& s) { s.name = "a/b"; }), "no interface can have that name");
  ends(refusal([](state& s) { s.pairs.clear(); }), "another number was agreed on");
  ends(refusal([](state& s) { s.queue_size = 9; }), "a power of two");
  ends(refusal([](state& s) { s.source.buffers = 0; }), "from 1 to 16777216");
  ends(refusal([](state& s) { s.source.capacity = 64; }), "another size was agreed on");
  ends(refusal([](state& s) { s.agreed.able.vnet_hdr = false; }), "vnet-hdr");
  ends(refusal([](state& s) { s.pairs[0].held.resize(70'000); }), "cannot have been waiting");
  ends(refusal([](state& s) { s.pairs[0].rx.buffers[1] = s.pairs[0].rx.buffers[0]; }),
       "rx queue 0: Bad message (a buffer that does not exist, or is in flight twice)");
  ends(refusal([](state& s) { s.pairs[0].rx.buffers[1] = s.pairs[0].tx.buffers[0]; }),
       "in flight twice");
  ends(refusal([](state& s) { s.pairs[0].rx.buffers[1].number = 32; }), "does not exist");
  ends(refusal([](state& s) { s.pairs[0].tx.counts.pop_back(); }), "chains without buffers");
  ends(refusal([](state& s) { s.pairs[0].tx.counts[0] = 2; }), "a wrong count of buffers");
  ends(refusal([](state& s) { s.pairs[0].tx.counts[0] = 0; }), "impossible number of buffers");
  ends(refusal([](state& s) { s.pairs[0].rx.ring.chains.resize(9, 1); }), "more chains in flight");
  ends(refusal([](state& s) { s.pairs[0].rx.ring.chains[0] = 2; }), "an impossible length");
  ends(refusal([](state& s) { s.pairs[0].rx.ring.batch_left = 1; }), "a used batch");
  ends(refusal([](state& s) { s.pairs[0].rx.ring.until_fast = 9; }), "more chains to come");
  ends(refusal([](state& s) { s.pairs[0].rx.ring.general_entries = 3; }), "another mode");
  ends(refusal([](state& s) { s.pairs[0].rx.ring.order = {1}; }), "order of their own");
  ends(refusal([](state& s) { s.pairs[0].tx.ring.order.pop_back(); }), "count of descriptors");
  ends(refusal([](state& s) { s.pairs[0].tx.ring.order[0] = s.pairs[0].tx.ring.order[1]; }),
       "there twice");
}

TEST_CASE("device state: what no device with packed rings can have is named") {
  const auto refusal = refusal_of<packed>;
  CHECK(refusal([](state&) {}).empty());
  ends(refusal([](state& s) { s.queue_size = 32769; }), "a packed ring has 1 to 32768 entries");
  ends(refusal([](state& s) { s.pairs[0].rx.ring.driver_at = ring_index(16); }),
       "rx queue 0: Bad message (a position that the ring does not have)");
  ends(refusal([](state& s) { s.pairs[0].rx.ring.device_at = ring_index(16); }), "a position");
  ends(refusal([](state& s) { s.pairs[0].tx.ring.chains[1] = 8; }), "count of descriptors");
  ends(refusal([](state& s) { s.pairs[0].tx.ring.order.pop_back(); }), "count of descriptors");
  ends(refusal([](state& s) { s.pairs[0].tx.ring.order[0] = s.pairs[0].tx.ring.order[1]; }),
       "there twice");

  resting_pair<packed> in_order(true, false);
  driver_state& ring = in_order.state.pairs[0].tx.ring;
  CHECK(ring.order == std::vector<std::uint16_t>{0, 1});
  ring.order[1] = 2;
  ends(buffers_in_flight(in_order.state).error().message(), "descriptors out of order");
}

TEST_CASE("device state: a packed ring shows where the device side is") {
  resting_pair<packed> rest(false, false);
  const auto rx_ring = rest.rx_ring();
  driver_state ring = rest.state.pairs[0].rx.ring;
  CHECK(flaw(ring, rx_ring).empty());
  for (const std::uint32_t other : {0u, 1u, 3u}) {
    ring.device_at = ring_index(other);
    CAPTURE(other);
    CHECK((flaw(ring, rx_ring) == "the ring shows another position of the device side") == (other < 2));
  }
  ring.device_at = ring_index(9);
  CHECK(flaw(ring, rx_ring) == "a device side that has used more than was available");
}
