// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_DEVICE_STATE_CODE_HPP
#define VKRING_WORKER_DEVICE_STATE_CODE_HPP

// The state of a device as bytes.

#include <cerrno>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>
#include <vkring/core/endian.hpp>
#include <vkring/core/error.hpp>
#include <vkring/version.hpp>
#include <vkring/worker/device_state.hpp>

namespace vkring::inline v0 {

namespace detail {

// Both archives are called with the same fields in the same order: `code` below says which, once.
struct state_writer {
  std::vector<std::byte> bytes;

  template <std::unsigned_integral T>
  void number(const T& value) {
    bytes.resize(bytes.size() + sizeof value);
    store_big(bytes.data() + bytes.size() - sizeof value, value);
  }
  void octet(std::byte value) { bytes.push_back(value); }
  void flag(bool value) { number(static_cast<std::uint8_t>(value)); }
  template <class Enum>
  void choice(const Enum& value, Enum) {
    number(static_cast<std::uint8_t>(value));
  }
  void text(const std::string& value) {
    list(value, 1, [this](char c) { number(static_cast<std::uint8_t>(c)); });
  }
  template <class List, class Each>
  void list(const List& values, std::size_t, Each&& each) {
    number(static_cast<std::uint32_t>(values.size()));
    for (const auto& value : values) each(value);
  }
};

// Stops at the first thing that cannot be; what it has read then means nothing.
struct state_reader {
  std::span<const std::byte> left;
  bool good = true;

  template <std::unsigned_integral T>
  void number(T& value) {
    if (left.size() < sizeof value) good = false;
    if (!good) return;
    value = load_big<T>(left.data());
    left = left.subspan(sizeof value);
  }
  void octet(std::byte& value) {
    std::uint8_t read = 0;
    number(read);
    value = std::byte{read};
  }
  void flag(bool& value) {
    std::uint8_t read = 0;
    number(read);
    good = good && read <= 1;
    value = read == 1;
  }
  template <class Enum>
  void choice(Enum& value, Enum last) {
    std::uint8_t read = 0;
    number(read);
    good = good && read <= static_cast<std::uint8_t>(last);
    if (good) value = static_cast<Enum>(read);
  }
  void text(std::string& value) {
    list(value, 1, [this](char& c) {
      std::uint8_t read = 0;
      number(read);
      c = static_cast<char>(read);
    });
  }
  // Every element takes `least` bytes, so nobody can make it allocate much more than was sent.
  template <class List, class Each>
  void list(List& values, std::size_t least, Each&& each) {
    std::uint32_t count = 0;
    number(count);
    if (count > left.size() / least) good = false;
    if (!good) return;
    values.resize(count);
    for (std::size_t i = 0; i < count && good; ++i) each(values[i]);
  }
};

// Bytes of a queue pair, without anything in flight and with some to spare.
inline constexpr std::size_t least_pair = 256;

template <class T, class Plain>
concept maybe_const = std::same_as<std::remove_const_t<T>, Plain>;

template <class Archive, maybe_const<counter> T>
void code(Archive& archive, T& it) {
  std::uint64_t value = it.value();
  archive.number(value);
  if constexpr (!std::is_const_v<T>) {
    it = {};
    it.add(value);
  }
}
template <class Archive, maybe_const<ring_index> T>
void code(Archive& archive, T& it) {
  std::uint16_t value = it.value();
  archive.number(value);
  if constexpr (!std::is_const_v<T>) it = ring_index(value);
}
template <class Archive, maybe_const<driver_state> T>
void code(Archive& archive, T& it) {
  const auto number = [&](auto& each) { archive.number(each); };
  archive.choice(it.mode, ring_mode::general);
  code(archive, it.used), code(archive, it.driver_at), code(archive, it.device_at);
  archive.number(it.batch_left), archive.number(it.batch_written), archive.number(it.until_fast);
  archive.number(it.general_entries), archive.number(it.fast_entries);
  archive.list(it.chains, 2, number);
  archive.list(it.order, 2, number);
}
template <class Archive, maybe_const<queue_counters> T>
void code(Archive& archive, T& it) {
  code(archive, it.frames), code(archive, it.bytes), code(archive, it.starved);
  code(archive, it.kicks), code(archive, it.kicks_suppressed);
  for (auto& each : it.drops) code(archive, each);
}
template <class Archive, maybe_const<queue_state> T>
void code(Archive& archive, T& it) {
  code(archive, it.ring);
  archive.list(it.counts, 2, [&](auto& each) { archive.number(each); });
  archive.list(it.buffers, 5, [&](auto& each) {
    archive.number(each.number), archive.flag(each.plain);
  });
  code(archive, it.counters);
}
template <class Archive, maybe_const<worker_counters> T>
void code(Archive& archive, T& it) {
  for (auto* each : {&it.tx_frames, &it.tx_bytes, &it.tx_refused, &it.tx_link_down, &it.tx_failed,
                     &it.rx_frames, &it.rx_too_long, &it.rx_spilled, &it.calls,
                     &it.calls_suppressed, &it.sleeps}) {
    code(archive, *each);
  }
}
template <class Archive, maybe_const<pair_state> T>
void code(Archive& archive, T& it) {
  archive.flag(it.enabled);
  code(archive, it.tx), code(archive, it.rx), code(archive, it.counters);
  archive.list(it.held, 1, [&](auto& each) { archive.octet(each); });
}
template <class Archive, maybe_const<agreement> T>
void code(Archive& archive, T& it) {
  const auto wanted = [&](auto& much) { archive.choice(much, want::required); };
  auto& asked = it.asked;
  for (const offload_word& word : offload_words) {
    wanted((asked.offloads.*word.wanted).tx), wanted((asked.offloads.*word.wanted).rx);
  }
  wanted(asked.mergeable), wanted(asked.event_idx), wanted(asked.indirect), wanted(asked.in_order);
  wanted(asked.packed), wanted(asked.mq), wanted(asked.mtu), wanted(asked.status);
  archive.number(asked.queue_pairs), archive.number(asked.queue_size);
  archive.number(asked.buffer_bytes), archive.number(asked.mtu_bytes);
  auto words = it.offered.words();
  archive.number(words[0]), archive.number(words[1]);
  if constexpr (!std::is_const_v<T>) it.offered = feature_set::from_words(words[0], words[1]);
  archive.choice(it.able.link, link_layer::none);
  archive.flag(it.able.vnet_hdr), archive.flag(it.able.multi_queue);
  archive.flag(it.able.link_state), archive.number(it.able.offloads);
  archive.number(it.able.mtu), archive.number(it.able.min_mtu), archive.number(it.able.max_mtu);
}
template <class Archive, maybe_const<device_state> T>
void code(Archive& archive, T& it) {
  archive.text(it.name);
  archive.number(it.stopped_at), archive.number(it.hands);
  code(archive, it.agreed);
  archive.number(it.queue_size);
  archive.number(it.source.buffers), archive.number(it.source.capacity);
  archive.number(it.source.guest);
  archive.list(it.pairs, least_pair, [&](auto& each) { code(archive, each); });
}

// A 64-bit FNV-1a: tells damage, not malice.
[[nodiscard]] inline std::uint64_t state_sum(std::span<const std::byte> bytes) noexcept {
  std::uint64_t sum = 0xcbf29ce484222325;
  for (const std::byte each : bytes) sum = (sum ^ std::to_integer<std::uint64_t>(each)) * 0x100000001b3;
  return sum;
}

inline constexpr std::uint64_t state_mark = 0x766b72696e672d64;  // "vkring-d"
// Of the bytes: the layout's number, and the version of the library.
inline constexpr std::uint32_t state_version =
    2u << 24 | VKRING_VERSION_MAJOR << 16 | VKRING_VERSION_MINOR << 8 | VKRING_VERSION_PATCH;
inline constexpr std::size_t state_head = 20;

[[nodiscard]] inline std::string state_version_text(std::uint32_t version) {
  return std::to_string(version >> 16 & 0xff) + '.' + std::to_string(version >> 8 & 0xff) + '.' +
         std::to_string(version & 0xff) + " (layout " + std::to_string(version >> 24) + ')';
}

}  // namespace detail

/// The state as bytes, for the same version of the library on any machine of the same kind.
/// Allocation: the bytes.
[[nodiscard]] inline std::vector<std::byte> encode(const device_state& state) {
  detail::state_writer body;
  detail::code(body, state);
  detail::state_writer whole;
  whole.number(detail::state_mark);
  whole.number(detail::state_version);
  whole.number(detail::state_sum(body.bytes));
  whole.bytes.insert(whole.bytes.end(), body.bytes.begin(), body.bytes.end());
  return std::move(whole.bytes);
}

/// The state that `encode` made bytes of. Whoever sent them is not trusted: what this returns is
/// some state, and `buffers_in_flight` tells whether a device can have it.
/// Errors: EBADMSG, with what is wrong: no state at all, another version of the library, cut or
/// damaged bytes.
[[nodiscard]] inline result<device_state> decode(std::span<const std::byte> bytes) {
  const std::string object = std::to_string(bytes.size()) + " bytes";
  std::uint64_t mark = 0;
  std::uint32_t version = 0;
  std::uint64_t sum = 0;
  detail::state_reader reader{bytes};
  reader.number(mark), reader.number(version), reader.number(sum);
  if (!reader.good || mark != detail::state_mark) {
    return fail(EBADMSG, "device state", object, "these are not the state of a device");
  }
  if (version != detail::state_version) {
    return fail(EBADMSG, "device state", object,
                "written by vkring " + detail::state_version_text(version) + ", this is " +
                    detail::state_version_text(detail::state_version));
  }
  device_state state;
  if (sum != detail::state_sum(reader.left)) reader.good = false;
  if (reader.good) detail::code(reader, state);
  if (!reader.good || !reader.left.empty()) {
    return fail(EBADMSG, "device state", object, "they are cut short or damaged");
  }
  return state;
}

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_DEVICE_STATE_CODE_HPP
