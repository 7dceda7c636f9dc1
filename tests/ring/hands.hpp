// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_HANDS_HPP
#define VKRING_TESTS_RING_HANDS_HPP

// The hands of peers without manners: they write to a ring whatever they are told to.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vkring/ring/packed_layout.hpp>
#include <vkring/ring/shared.hpp>

#include "meddling.hpp"

namespace vkring::test {

/// A device's hand on a ring of that layout.
template <class Layout>
class device_hand;
/// A driver's.
template <class Layout>
class driver_hand;

template <>
class device_hand<split> {
 public:
  device_hand(const split_ring& ring, const ring_options& options)
      : ring_(ring), mask_(static_cast<std::uint16_t>(options.size - 1)), at_(options.start) {}

  /// What the driver side may touch of the ring that `all` holds.
  static void allow(meddler& to, std::span<const std::byte> all, std::uint16_t size) {
    const std::size_t used = split_ring::used_offset(size);
    to.may_store = {{all.first(used)}};
    to.may_load = {{all.subspan(used)}};
  }

  /// Goes on from where an honest device is.
  template <class Device>
  void take_over(const Device& from) {
    at_ = from.used_position();
  }
  /// The head that was made available that far ahead.
  [[nodiscard]] std::uint32_t head_ahead(std::uint8_t ahead) const {
    return direct::load(ring_.avail_entries()[(at_ + ahead).slot(mask_)]);
  }
  void use(std::uint32_t id, std::uint32_t length) {
    used_element& element = ring_.used_elements()[at_.slot(mask_)];
    direct::store(element.id, id);
    direct::store(element.length, length);
  }
  void show(std::uint32_t count) {
    at_ += count;
    direct::publish_used(ring_.used_index(), at_.value());
  }
  /// Shows what was used last, a chain of that many descriptors.
  void show_chain(std::uint32_t /*descriptors*/) { show(1); }
  void set_event(std::uint32_t words) {
    direct::store(ring_.avail_event(), static_cast<std::uint16_t>(words));
    direct::store(ring_.used_flags(), static_cast<std::uint16_t>(words >> 16));
  }

 private:
  split_ring ring_;
  std::uint16_t mask_;
  ring_index at_;
};

template <>
class device_hand<packed> {
 public:
  device_hand(const packed_ring& ring, const ring_options& options)
      : ring_(ring), size_(options.size), at_(options.start, options.size) {}

  // The driver reads the descriptors that it wrote: the device overwrites those that it uses.
  static void allow(meddler& to, std::span<const std::byte> all, std::uint16_t size) {
    const std::size_t device_event = packed_ring::device_event_offset(size);
    to.may_store = {{all.first(device_event)}, {all.subspan(device_event)}};
    to.may_load = {{all.first(16u * size), 8}, {all.subspan(device_event), 4}};
  }

  template <class Device>
  void take_over(const Device& from) {
    at_ = from.next_used();
  }
  // The id of the descriptor that far ahead.
  [[nodiscard]] std::uint32_t head_ahead(std::uint8_t ahead) const {
    return packed_descriptor::id(
        direct::load(ring_.descriptors()[(at_.slot() + ahead) % size_].rest));
  }
  // An even length means nothing.
  void use(std::uint32_t id, std::uint32_t length) {
    const int write = (length & 1) != 0 ? descriptor_write : 0;
    direct::store(ring_.descriptors()[at_.slot()].rest,
                  packed_descriptor::pack(length, id & 0xffff,
                                          static_cast<std::uint16_t>(at_.used() | write)));
  }
  void show(std::uint32_t count) { at_.advance(count % (size_ + 1u), size_); }
  void show_chain(std::uint32_t descriptors) { show(descriptors); }
  void set_event(std::uint32_t word) { direct::store(ring_.device_event(), word); }

 private:
  packed_ring ring_;
  std::uint16_t size_;
  packed_position at_;
};

template <>
class driver_hand<split> {
 public:
  driver_hand(const split_ring& ring, const ring_options& options)
      : ring_(ring), mask_(static_cast<std::uint16_t>(options.size - 1)), at_(options.start) {
    direct::publish_avail(ring_.avail_index(), at_.value());
    direct::publish_used(ring_.used_index(), at_.value());
  }

  /// What the device side may touch of the ring that `all` holds.
  static void allow(meddler& to, std::span<const std::byte> all, std::uint16_t size) {
    to.may_store = {{all.subspan(split_ring::used_offset(size))}};
    to.may_load = {{all.first(16u * size), 8},
                   {all.subspan(split_ring::avail_offset(size), 6u + 2u * size), 2}};
  }

  /// Goes on from where an honest driver is.
  template <class Driver>
  void take_over(const Driver& from) {
    at_ = from.published_position();
  }
  void offer(std::uint32_t head) {
    direct::store(ring_.avail_entries()[at_.slot(mask_)], static_cast<std::uint16_t>(head));
  }
  void show(std::uint32_t count) {
    at_ += count;
    direct::publish_avail(ring_.avail_index(), at_.value());
  }
  /// A descriptor's second word, in the ring or in a table.
  [[nodiscard]] static std::uint64_t rest(std::uint32_t length, std::uint16_t flags,
                                          std::uint16_t next, bool) {
    return split_descriptor::pack(length, flags, next);
  }

  /// In that word, the first bit of the flags and of what leads to the next descriptor.
  static constexpr unsigned flags_at = 32, link_at = 48;
  /// Where the chain starts that `from` added last; it takes that many descriptors.
  template <class Driver>
  [[nodiscard]] std::uint16_t last_chain(const Driver& from, std::uint32_t /*descriptors*/) const {
    return direct::load(ring_.avail_entries()[(from.avail_position() + 0xffff).slot(mask_)]);
  }
  /// Calls it by another head.
  template <class Driver>
  void rename_last(const Driver& from, std::uint16_t head) const {
    direct::store(ring_.avail_entries()[(from.avail_position() + 0xffff).slot(mask_)], head);
  }
  /// The descriptor after this one of a chain.
  [[nodiscard]] std::uint16_t after(std::uint16_t descriptor) const {
    return split_descriptor::next(direct::load(ring_.descriptors()[descriptor].rest));
  }
  /// The table of the chain that starts there.
  [[nodiscard]] static std::uint16_t table_of(std::uint16_t head) { return head; }

 private:
  split_ring ring_;
  std::uint16_t mask_;
  ring_index at_;
};

template <>
class driver_hand<packed> {
 public:
  driver_hand(const packed_ring& ring, const ring_options& options)
      : ring_(ring), size_(options.size), at_(options.start, options.size) {}

  static void allow(meddler& to, std::span<const std::byte> all, std::uint16_t size) {
    const std::size_t driver_event = packed_ring::driver_event_offset(size);
    const std::size_t device_event = packed_ring::device_event_offset(size);
    to.may_store = {{all.first(driver_event)}, {all.subspan(device_event)}};
    to.may_load = {{all.first(16u * size), 8}, {all.subspan(driver_event, 4), 4}};
  }

  template <class Driver>
  void take_over(const Driver& from) {
    at_ = from.next_available();
  }
  // Marks the next descriptor as available, with that id.
  void offer(std::uint32_t id) {
    std::uint64_t& word = ring_.descriptors()[at_.slot()].rest;
    const std::uint64_t rest = direct::load(word);
    const int flags = (packed_descriptor::flags(rest) & 7) | at_.available();
    direct::store(word, packed_descriptor::pack(packed_descriptor::length(rest), id & 0xffff,
                                                static_cast<std::uint16_t>(flags)));
  }
  void show(std::uint32_t count) { at_.advance(count % (size_ + 1u), size_); }
  [[nodiscard]] std::uint64_t rest(std::uint32_t length, std::uint16_t flags, std::uint16_t id,
                                   bool in_ring) const {
    const int mark = in_ring ? at_.available() : 0;
    return packed_descriptor::pack(length, id, static_cast<std::uint16_t>(flags | mark));
  }

  // The first bit of the flags and of the id.
  static constexpr unsigned flags_at = 48, link_at = 32;
  template <class Driver>
  [[nodiscard]] std::uint16_t last_chain(const Driver& from, std::uint32_t descriptors) const {
    packed_position at = from.next_available();
    at.go_back(descriptors, size_);
    return at.slot();
  }
  template <class Driver>
  void rename_last(const Driver& from, std::uint16_t id) const {
    std::uint64_t& word = ring_.descriptors()[last_chain(from, 1)].rest;
    const std::uint64_t rest = direct::load(word);
    direct::store(word, packed_descriptor::pack(packed_descriptor::length(rest), id,
                                                packed_descriptor::flags(rest)));
  }
  [[nodiscard]] std::uint16_t after(std::uint16_t descriptor) const {
    return static_cast<std::uint16_t>((descriptor + 1u) % size_);
  }
  [[nodiscard]] std::uint16_t table_of(std::uint16_t descriptor) const {
    return packed_descriptor::id(direct::load(ring_.descriptors()[descriptor].rest));
  }

 private:
  packed_ring ring_;
  std::uint16_t size_;
  packed_position at_;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_HANDS_HPP
