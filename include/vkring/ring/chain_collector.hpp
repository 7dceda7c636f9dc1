// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_CHAIN_COLLECTOR_HPP
#define VKRING_RING_CHAIN_COLLECTOR_HPP

// What the device side makes of the descriptors of one chain, whatever the layout.

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>
#include <vkring/ring/concepts.hpp>

namespace vkring::inline v0 {

/// Checks the buffers of a chain one after the other and collects the memory behind them.
///
/// Allocation: in the constructor only. Thread-safety: one thread.
template <address_space AddressSpace>
class chain_collector {
 public:
  /// `space` is where addresses are looked up.
  explicit chain_collector(AddressSpace space)
      : space_(std::move(space)), pieces_(max_chain_pieces) {}

  /// To be used by nobody else meanwhile.
  [[nodiscard]] AddressSpace& space() noexcept { return space_; }

  /// What the device is going to do with a buffer of that kind.
  [[nodiscard]] static constexpr memory_access direction(bool writable) noexcept {
    return writable ? memory_access::write : memory_access::read;
  }

  /// Starts with a new chain.
  void begin() noexcept {
    count_ = readable_ = 0;
    bytes_ = 0;
    writing_ = false;
  }

  /// One buffer, in as many pieces as the address space has it in. Empty buffers add nothing. False:
  /// a breach, see `fault`.
  bool add(std::uint64_t address, std::uint32_t length, bool writable) noexcept {
    if (writing_ && !writable) return refuse(ring_fault::readable_after_writable, address);
    writing_ = writable;
    bytes_ += length;
    if (bytes_ > UINT32_MAX) return refuse(ring_fault::chain_too_large, bytes_);
    while (length != 0) {
      if (count_ == pieces_.size()) return refuse(ring_fault::chain_too_long, count_);
      const std::span<std::byte> piece = space_.translate(address, length, direction(writable));
      if (piece.empty()) return refuse(ring_fault::address_refused, address);
      pieces_[count_++] = piece;
      if (!writable) readable_ = count_;
      address += piece.size();
      length -= static_cast<std::uint32_t>(piece.size());
    }
    return true;
  }

  /// How many descriptors a table of that many bytes has. 0: a breach.
  template <class Descriptor>
  [[nodiscard]] std::uint32_t table_entries(std::uint32_t bytes) noexcept {
    constexpr std::uint32_t step = sizeof(Descriptor);
    if (bytes != 0 && bytes % step == 0) return bytes / step;
    refuse(ring_fault::indirect_length, bytes);
    return 0;
  }
  /// A descriptor of a table, which may cross from one region into the next. Null: a breach.
  template <class Descriptor>
  [[nodiscard]] const Descriptor* table_entry(std::uint64_t table, std::uint32_t index) noexcept {
    const std::uint64_t address = table + std::uint64_t{index} * sizeof(Descriptor);
    const std::span<std::byte> entry =
        space_.translate(address, sizeof(Descriptor), memory_access::read);
    // Aligned where it lies, because descriptors are read as 64-bit words.
    const bool aligned = reinterpret_cast<std::uintptr_t>(entry.data()) % alignof(Descriptor) == 0;
    if (entry.size() == sizeof(Descriptor) && aligned) {
      return reinterpret_cast<const Descriptor*>(entry.data());
    }
    refuse(ring_fault::address_refused, address);
    return nullptr;
  }

  /// Marks the chain as a breach. Always false.
  bool refuse(ring_fault fault, std::uint64_t value) noexcept {
    fault_ = fault;
    value_ = value;
    return false;
  }
  /// What is wrong with the chain that was refused last, and the value that gave it away.
  [[nodiscard]] ring_fault fault() const noexcept { return fault_; }
  /// An index, id, length or address.
  [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

  /// The chain as collected, valid until the next `begin`.
  void give(device_chain& chain) const noexcept {
    const std::span<const std::span<std::byte>> all(pieces_.data(), count_);
    chain.readable = all.first(readable_);
    chain.writable = all.subspan(readable_);
  }

 private:
  AddressSpace space_;
  std::size_t count_ = 0;
  std::size_t readable_ = 0;
  std::uint64_t bytes_ = 0;
  bool writing_ = false;
  ring_fault fault_ = ring_fault::none;
  std::uint64_t value_ = 0;
  std::vector<std::span<std::byte>> pieces_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_CHAIN_COLLECTOR_HPP
