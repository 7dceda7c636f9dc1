// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_INSPECT_HPP
#define VKRING_RING_INSPECT_HPP

// A ring as it stands, for people and for tools: what is in memory, what one side makes of it, and
// what broke it.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/fault.hpp>

namespace vkring::inline v0 {

/// A descriptor as it lay in memory.
struct descriptor_snapshot {
  std::uint16_t index = 0;    ///< in the ring or in its table
  std::uint64_t address = 0;  ///< of the buffer, as the device knows it
  std::uint32_t length = 0;   ///< bytes
  std::uint16_t flags = 0;    ///< of `descriptor_flag`
  std::uint16_t next = 0;     ///< the descriptor that follows, if the flags say so
};

/// A chain as it lay in memory; the other side may have written anything there.
struct chain_snapshot {
  /// Where the walk along the chain came to an end.
  enum class stop : std::uint8_t {
    complete,
    cut,               ///< there is more than the limit that was asked for
    loop,              ///< more descriptors than the ring or the table has
    next_range,        ///< a next beyond the ring or the table
    table_length,      ///< a table of no or half entries
    table_unreadable,  ///< a table at an address that could not be looked up
  };

  std::uint16_t head = 0;  ///< the first descriptor, by which the chain is known
  std::vector<descriptor_snapshot> descriptors;  ///< in the ring
  std::vector<descriptor_snapshot> table;        ///< in the table that the last of them points to
  stop end = stop::complete;                     ///< why there is no more of it
};

/// A split ring: the words in shared memory, the positions of the side that was asked, and chains.
struct ring_snapshot {
  std::uint16_t size = 0;  ///< entries
  bool driver = false;     ///< which side was asked

  /// @{
  /// The words of the ring as they lay there, of `avail` the driver's, of `used` the device's.
  std::uint16_t avail_flags = 0, avail_index = 0, used_event = 0;
  std::uint16_t used_flags = 0, used_index = 0, avail_event = 0;
  /// @}

  std::uint16_t avail_position = 0;   ///< next to add, or to pop
  std::uint16_t used_position = 0;    ///< next to reclaim, or to push
  std::uint16_t out = 0;              ///< added and not reclaimed, or popped and not pushed
  std::uint16_t pending = 0;          ///< what the other side's index says is to be taken
  ring_mode mode = ring_mode::fast;   ///< driver side only
  std::uint64_t general_entries = 0;  ///< driver side only

  ring_breach breach;  ///< what the other side did wrong, if it did
  std::optional<chain_snapshot>
      offender;                        ///< the chain that the breach is about, where there is one
  std::vector<chain_snapshot> chains;  ///< driver: in flight; device: to be popped
  std::size_t chains_left_out = 0;     ///< beyond the limit that was asked for
};

/// How much of a ring to look at.
struct inspect_limits {
  std::size_t chains = 16;       ///< as many as that
  std::size_t descriptors = 32;  ///< of each chain, and as many of its table
};

/// Looks no table up: what `inspect` does unless it is told how.
struct no_lookup {
  /// Finds nothing.
  [[nodiscard]] static std::span<std::byte> translate(std::uint64_t, std::uint32_t,
                                                      memory_access) noexcept {
    return {};
  }
};

/// Looks up the tables of a driver side, for a ring of `size` entries.
struct table_lookup {
  indirect_tables tables;  ///< where they lie
  std::uint16_t size = 0;  ///< entries

  /// The piece of a table; empty outside all of them.
  [[nodiscard]] std::span<std::byte> translate(std::uint64_t address, std::uint32_t length,
                                               memory_access) const noexcept {
    const std::uint64_t bytes = indirect_tables::bytes(size, tables.entries);
    if (address < tables.address || address - tables.address >= bytes) return {};
    const std::uint64_t offset = address - tables.address;
    const std::uint64_t rest = bytes - offset;
    return {tables.host + offset, static_cast<std::size_t>(rest < length ? rest : length)};
  }
};

namespace detail {

[[nodiscard]] constexpr std::string_view name(chain_snapshot::stop end) noexcept {
  switch (end) {
    case chain_snapshot::stop::complete:
      return "complete";
    case chain_snapshot::stop::cut:
      return "cut";
    case chain_snapshot::stop::loop:
      return "loop";
    case chain_snapshot::stop::next_range:
      return "next_range";
    case chain_snapshot::stop::table_length:
      return "table_length";
    case chain_snapshot::stop::table_unreadable:
      return "table_unreadable";
  }
  return "unknown";
}

// Walks descriptors by `load(index) -> optional<descriptor_snapshot>` into `found`. Returns where it
// ended; `complete` also before an indirect descriptor in the ring.
template <class Load>
chain_snapshot::stop walk_descriptors(std::vector<descriptor_snapshot>& found, std::uint16_t first,
                                      std::uint32_t count, std::size_t limit, Load&& load) {
  for (std::uint16_t at = first;;) {
    if (at >= count) return chain_snapshot::stop::next_range;
    if (found.size() == count) return chain_snapshot::stop::loop;
    if (found.size() == limit) return chain_snapshot::stop::cut;
    const std::optional<descriptor_snapshot> each = load(at);
    if (!each) return chain_snapshot::stop::table_unreadable;
    found.push_back(*each);
    if ((each->flags & (descriptor_indirect | descriptor_next)) != descriptor_next) {
      return chain_snapshot::stop::complete;
    }
    at = each->next;
  }
}

template <class Access>
[[nodiscard]] descriptor_snapshot load_descriptor(const split_descriptor& from,
                                                  std::uint16_t index) noexcept {
  const std::uint64_t rest = Access::load(from.rest);
  return {index, Access::load(from.address), split_descriptor::length(rest),
          split_descriptor::flags(rest), split_descriptor::next(rest)};
}

template <class Access, class Lookup>
chain_snapshot inspect_chain(const split_ring& ring, std::uint16_t head, Lookup& lookup,
                             std::size_t limit) {
  chain_snapshot chain;
  chain.head = head;
  chain.end = walk_descriptors(chain.descriptors, head, ring.size(), limit, [&](std::uint16_t at) {
    return std::optional(load_descriptor<Access>(ring.descriptors()[at], at));
  });
  if (chain.end != chain_snapshot::stop::complete) return chain;
  const descriptor_snapshot last = chain.descriptors.back();
  if ((last.flags & descriptor_indirect) == 0) return chain;
  constexpr std::uint32_t step = sizeof(split_descriptor);
  if (last.length == 0 || last.length % step != 0) {
    chain.end = chain_snapshot::stop::table_length;
    return chain;
  }
  chain.end = walk_descriptors(
      chain.table, 0, last.length / step, limit,
      [&](std::uint16_t at) -> std::optional<descriptor_snapshot> {
        const std::span<std::byte> entry =
            lookup.translate(last.address + std::uint64_t{at} * step, step, memory_access::read);
        const bool aligned =
            reinterpret_cast<std::uintptr_t>(entry.data()) % alignof(split_descriptor) == 0;
        if (entry.size() != step || !aligned) return std::nullopt;
        return load_descriptor<Access>(*reinterpret_cast<const split_descriptor*>(entry.data()),
                                       at);
      });
  return chain;
}

// The head of the chain that a breach is about, if it is about one.
template <class Access>
[[nodiscard]] std::optional<std::uint16_t> offending_head(const split_ring& ring,
                                                          const ring_breach& breach) noexcept {
  std::uint64_t head = head_of(breach).value_or(ring.size());
  if (breach.fault == ring_fault::used_length || breach.fault == ring_fault::num_buffers) {
    const auto mask = static_cast<std::uint16_t>(ring.size() - 1);
    head = Access::load(ring.used_elements()[ring_index(breach.position).slot(mask)].id);
  }
  if (head >= ring.size()) return std::nullopt;
  return static_cast<std::uint16_t>(head);
}

}  // namespace detail

/// Reads a split ring and the side `queue` that works on it. `lookup` finds indirect tables by
/// address: a `table_lookup`, or the address space of a device side.
///
/// The result is bounded by `limits` and sound whatever lies in the ring; as nothing stops the other
/// side, its words may stem from different moments. Allocation: the snapshot. Thread-safety: as the
/// queue's own functions.
template <class Access = direct, class Queue, address_space Lookup = no_lookup>
[[nodiscard]] ring_snapshot inspect(const split_ring& ring, const Queue& queue, Lookup lookup = {},
                                    inspect_limits limits = {}) {
  ring_snapshot all;
  all.size = ring.size();
  all.avail_flags = Access::load(ring.avail_flags());
  all.avail_index = Access::load(ring.avail_index());
  all.used_event = Access::load(ring.used_event());
  all.used_flags = Access::load(ring.used_flags());
  all.used_index = Access::load(ring.used_index());
  all.avail_event = Access::load(ring.avail_event());
  all.avail_position = queue.avail_position().value();
  all.used_position = queue.used_position().value();
  all.out = queue.avail_position() - queue.used_position();
  all.breach = queue.breach();

  const auto mask = static_cast<std::uint16_t>(ring.size() - 1);
  const auto add = [&](std::uint16_t head) {
    if (all.chains.size() == limits.chains) {
      ++all.chains_left_out;
    } else {
      all.chains.push_back(detail::inspect_chain<Access>(ring, head, lookup, limits.descriptors));
    }
  };
  if constexpr (driver_queue<Queue>) {
    all.driver = true;
    all.mode = queue.mode();
    all.general_entries = queue.general_entries();
    all.pending = ring_index(all.used_index) - queue.used_position();
    for (std::uint32_t i = 0; i < ring.size(); ++i) {
      const std::uint16_t head = (queue.used_position() + i).slot(mask);
      if (queue.in_flight_at(head)) add(head);
    }
  } else {
    all.pending = ring_index(all.avail_index) - queue.avail_position();
    for (std::uint32_t i = 0; i < std::min(all.pending, ring.size()); ++i) {
      add(Access::load(ring.avail_entries()[(queue.avail_position() + i).slot(mask)]));
    }
  }
  if (const auto head = detail::offending_head<Access>(ring, all.breach)) {
    all.offender = detail::inspect_chain<Access>(ring, *head, lookup, limits.descriptors);
  }
  return all;
}

namespace detail {

inline void text_of(std::string& text, const std::vector<descriptor_snapshot>& all,
                    std::string_view indent) {
  for (const descriptor_snapshot& each : all) {
    text += indent;
    text += '[' + std::to_string(each.index) + "] " + hex(each.address) + " +" +
            std::to_string(each.length);
    text += (each.flags & descriptor_indirect) != 0 ? " table"
            : (each.flags & descriptor_write) != 0  ? " writable"
                                                    : " readable";
    if ((each.flags & descriptor_next) != 0) text += " -> " + std::to_string(each.next);
    if ((each.flags & ~7) != 0) text += " flags " + hex(each.flags);
    text += '\n';
  }
}

inline void text_of(std::string& text, std::string_view what, const chain_snapshot& chain) {
  text += "  ";
  text += what;
  text += " at " + std::to_string(chain.head);
  if (chain.end != chain_snapshot::stop::complete) {
    text += ", ";
    text += name(chain.end);
  }
  text += '\n';
  text_of(text, chain.descriptors, "    ");
  text_of(text, chain.table, "      ");
}

// Which side was asked, and its mode: of a snapshot of any layout.
template <class Snapshot>
[[nodiscard]] std::string text_of_side(const Snapshot& ring) {
  if (!ring.driver) return ", device side";
  return std::string(", driver side, ") + (ring.mode == ring_mode::fast ? "fast" : "general") +
         " mode (general mode entered " + std::to_string(ring.general_entries) + " times)";
}
template <class Snapshot>
[[nodiscard]] std::string json_mode(const Snapshot& ring) {
  if (!ring.driver) return "null";
  return ring.mode == ring_mode::fast ? "\"fast\"" : "\"general\"";
}

// {"key":value,...} out of alternating keys and values that are JSON already.
[[nodiscard]] inline std::string json_object(
    std::initializer_list<std::pair<std::string_view, std::string>> members) {
  std::string text = "{";
  for (const auto& [key, value] : members) {
    if (text.size() > 1) text += ',';
    text += '"';
    text += key;
    text += "\":" + value;
  }
  return text + '}';
}
template <class Range, class Convert>
[[nodiscard]] std::string json_array(const Range& range, Convert&& convert) {
  std::string text = "[";
  for (const auto& each : range) {
    if (text.size() > 1) text += ',';
    text += convert(each);
  }
  return text + ']';
}
[[nodiscard]] inline std::string json_string(std::string_view plain) {
  return '"' + std::string(plain) + '"';
}
[[nodiscard]] inline std::string json_of(const ring_breach& breach) {
  if (!breach) return "null";
  return json_object({{"fault", json_string(name(breach.fault))},
                      {"position", std::to_string(breach.position)},
                      {"value", json_string(hex(breach.value))}});
}
[[nodiscard]] inline std::string json_of(const descriptor_snapshot& each) {
  return json_object({{"index", std::to_string(each.index)},
                      {"address", json_string(hex(each.address))},
                      {"length", std::to_string(each.length)},
                      {"flags", std::to_string(each.flags)},
                      {"next", std::to_string(each.next)}});
}
[[nodiscard]] inline std::string json_of(const chain_snapshot& chain) {
  const auto convert = [](const descriptor_snapshot& each) { return json_of(each); };
  return json_object({{"head", std::to_string(chain.head)},
                      {"end", json_string(name(chain.end))},
                      {"descriptors", json_array(chain.descriptors, convert)},
                      {"table", json_array(chain.table, convert)}});
}

}  // namespace detail

/// The snapshot in lines for people.
[[nodiscard]] inline std::string to_text(const ring_snapshot& ring) {
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  std::string text = "split ring of " + number(ring.size);
  text += detail::text_of_side(ring);
  text += "\n  avail: index " + number(ring.avail_index) + ", flags " + number(ring.avail_flags) +
          ", used_event " + number(ring.used_event);
  text += "\n  used: index " + number(ring.used_index) + ", flags " + number(ring.used_flags) +
          ", avail_event " + number(ring.avail_event);
  text += ring.driver ? "\n  next to add " : "\n  next to pop ";
  text += number(ring.avail_position);
  text += ring.driver ? ", to reclaim " : ", to push ";
  text += number(ring.used_position) + "; " + number(ring.out) +
          (ring.driver ? " in flight, " : " out, ") + number(ring.pending) +
          (ring.driver ? " used and not reclaimed\n" : " available and not popped\n");
  if (ring.breach) text += "  broken: " + to_text(ring.breach) + '\n';
  if (ring.offender) detail::text_of(text, "offending chain", *ring.offender);
  for (const chain_snapshot& each : ring.chains) detail::text_of(text, "chain", each);
  if (ring.chains_left_out != 0) text += "  " + number(ring.chains_left_out) + " more chains\n";
  return text;
}

/// The snapshot as one JSON object; addresses and fault values are strings, as they have 64 bits.
[[nodiscard]] inline std::string to_json(const ring_snapshot& ring) {
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  const auto chain = [](const chain_snapshot& each) { return detail::json_of(each); };
  return detail::json_object(
      {{"layout", "\"split\""},
       {"side", detail::json_string(ring.driver ? "driver" : "device")},
       {"size", number(ring.size)},
       {"mode", detail::json_mode(ring)},
       {"general_entries", number(ring.general_entries)},
       {"avail", detail::json_object({{"index", number(ring.avail_index)},
                                      {"flags", number(ring.avail_flags)},
                                      {"used_event", number(ring.used_event)}})},
       {"used", detail::json_object({{"index", number(ring.used_index)},
                                     {"flags", number(ring.used_flags)},
                                     {"avail_event", number(ring.avail_event)}})},
       {"avail_position", number(ring.avail_position)},
       {"used_position", number(ring.used_position)},
       {"out", number(ring.out)},
       {"pending", number(ring.pending)},
       {"breach", detail::json_of(ring.breach)},
       {"offender", ring.offender ? chain(*ring.offender) : "null"},
       {"chains", detail::json_array(ring.chains, chain)},
       {"chains_left_out", number(ring.chains_left_out)}});
}

}  // namespace vkring::inline v0

#endif  // VKRING_RING_INSPECT_HPP
