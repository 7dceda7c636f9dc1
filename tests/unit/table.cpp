// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/memory/table.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/faulty_sys.hpp"

namespace {

using vkring::guest_region;
using vkring::memory_access;
using vkring::memory_table;
using vkring::table_cursor;

constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();

// Pointers that are compared and handed back, never followed.
std::byte* at(std::uint64_t address) {
  return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(address));
}
std::span<std::byte> memory(std::uint64_t address, std::size_t size) { return {at(address), size}; }

std::errc reason(const vkring::error& e) { return static_cast<std::errc>(e.code.value()); }

// Translation as one would write it without a thought for speed: every region as it was added, and
// sums in 128 bits.
struct naive_table {
  using wide = unsigned __int128;
  std::vector<guest_region> regions;

  [[nodiscard]] std::span<std::byte> translate(std::uint64_t guest, std::uint32_t length) const {
    std::byte* start = nullptr;
    wide address = guest;
    std::uint64_t found = 0;
    for (bool more = true; more && found < length;) {
      more = false;
      for (const auto& r : regions) {
        if (address < r.guest || address >= wide{r.guest} + r.size) continue;
        std::byte* const here = r.host + static_cast<std::uint64_t>(address - r.guest);
        if (found == 0) start = here;
        if (here != at(reinterpret_cast<std::uintptr_t>(start) + found)) continue;
        const wide rest = wide{r.guest} + r.size - address;
        const wide wanted = length - found;
        const auto taken = static_cast<std::uint64_t>(rest < wanted ? rest : wanted);
        found += taken;
        address += taken;
        more = true;
        break;
      }
    }
    return {start, static_cast<std::size_t>(found)};
  }

  // The kernel's rules of the library in the same plain words.
  [[nodiscard]] bool accepts(std::uint64_t guest, std::uint64_t host, std::uint64_t size) const {
    if (size == 0 || host == 0) return false;
    if (wide{guest} + size > wide{top} + 1 || wide{host} + size > wide{top} + 1) return false;
    for (const auto& r : regions) {
      const wide r_host = reinterpret_cast<std::uintptr_t>(r.host);
      if (wide{guest} < wide{r.guest} + r.size && r.guest < wide{guest} + size) return false;
      if (wide{host} < r_host + r.size && r_host < wide{host} + size) return false;
    }
    return true;
  }
};

bool same(std::span<std::byte> a, std::span<std::byte> b) {
  return a.size() == b.size() && (a.empty() || a.data() == b.data());
}

}  // namespace

TEST_CASE("memory table: add finds the next free page, whatever add_at has taken") {
  memory_table table;
  const auto at_base = table.default_base;
  const auto piece = [](std::uintptr_t host, std::size_t size) {
    return std::span(reinterpret_cast<std::byte*>(host), size);
  };
  table.add_at(at_base, piece(0x100000, 0x1000)).value();
  table.add_at(at_base + 0x2000, piece(0x200000, 0x1800)).value();
  CHECK(table.add(piece(0x300000, 0x1000)).value() == at_base + 0x1000);
  CHECK(table.add(piece(0x400000, 0x1000)).value() == at_base + 0x4000);
  CHECK(table.add(piece(0x500000, 1)).value() == at_base + 0x5000);
  memory_table high(8, 0 - std::uint64_t{0x1000});
  CHECK(high.add(piece(0x100000, 0x1000)));
  CHECK_FALSE(high.add(piece(0x200000, 0x1000)));
  CHECK_FALSE(high.add(piece(0x300000, 1)));
}

TEST_CASE("table: own memory gets addresses from the base upwards, page by page") {
  std::array<std::byte, 64> one{};
  std::array<std::byte, 64> two{};
  memory_table table;
  CHECK(table.add(one).value() == memory_table::default_base);
  CHECK(table.add(two).value() == memory_table::default_base + memory_table::page);
  const auto piece = table.translate(memory_table::default_base + 16, 100, memory_access::read);
  CHECK(piece.data() == one.data() + 16);
  CHECK(piece.size() == 48);
  CHECK(table.translate(memory_table::default_base + 64, 1, memory_access::write).empty());
  CHECK(table.guest_of(std::span(two).subspan(3, 5)) ==
        memory_table::default_base + memory_table::page + 3);
}

TEST_CASE("table: a second process that adds the same sizes gets the same addresses") {
  memory_table first;
  memory_table second;
  for (const std::size_t size : {1U, 4096U, 4097U, 8192U}) {
    const auto a = first.add(memory(0x7000'0000 + size * 0x10000, size)).value();
    const auto b = second.add(memory(0x1000'0000 + size * 0x30000, size)).value();
    CHECK(a == b);
  }
}

TEST_CASE("table: foreign memory is its own address") {
  memory_table table;
  REQUIRE(table.add_identity(memory(0x5000, 0x1000)));
  CHECK(table.translate(0x5010, 4, memory_access::read).data() == at(0x5010));
  CHECK(table.guest_of(memory(0x5010, 4)) == std::uint64_t{0x5010});
}

TEST_CASE("table: regions are coalesced only when adjacent in guest and in host memory") {
  memory_table table;
  REQUIRE(table.add_at(0x3000, memory(0x53000, 0x1000)));
  SECTION("both, from below and from above, filling the gap last") {
    REQUIRE(table.add_at(0x1000, memory(0x51000, 0x1000)));
    CHECK(table.regions().size() == 2);
    REQUIRE(table.add_at(0x2000, memory(0x52000, 0x1000)));
    REQUIRE(table.regions().size() == 1);
    CHECK(table.regions()[0].guest == 0x1000);
    CHECK(table.regions()[0].host == at(0x51000));
    CHECK(table.regions()[0].size == 0x3000);
    CHECK(table.translate(0x1ff0, 0x1020, memory_access::read).size() == 0x1020);
    CHECK(table.guest_of(memory(0x51ff0, 0x1020)) == std::uint64_t{0x1ff0});
  }
  SECTION("guest only: two pieces, no address for memory that is not one") {
    REQUIRE(table.add_at(0x4000, memory(0x64000, 0x1000)));
    CHECK(table.regions().size() == 2);
    CHECK(table.translate(0x3ff0, 0x20, memory_access::read).size() == 0x10);
    CHECK(table.translate(0x4000, 0x10, memory_access::read).data() == at(0x64000));
  }
  SECTION("host only: no address for memory that crosses over") {
    REQUIRE(table.add_at(0x9000, memory(0x54000, 0x1000)));
    CHECK(table.regions().size() == 2);
    CHECK_FALSE(table.guest_of(memory(0x53ff0, 0x20)));
    CHECK(table.guest_of(memory(0x53ff0, 0x10)) == std::uint64_t{0x3ff0});
  }
}

TEST_CASE("table: what it refuses, and that a refusal changes nothing") {
  memory_table table(2);
  REQUIRE(table.add_at(0x10000, memory(0x50000, 0x1000)));
  const auto refused = [&](std::uint64_t guest, std::span<std::byte> host) {
    const auto before = table.regions().size();
    auto answer = table.add_at(guest, host);
    REQUIRE_FALSE(answer);
    CHECK(table.regions().size() == before);
    CHECK(answer.error().operation == "memory_table");
    CHECK_FALSE(answer.error().hint.empty());
    return reason(answer.error());
  };
  CHECK(refused(0x1000, {}) == std::errc::invalid_argument);
  CHECK(refused(0x1000, memory(0, 16)) == std::errc::invalid_argument);
  CHECK(refused(0x1000, memory(0x60000, 0)) == std::errc::invalid_argument);
  CHECK(refused(top, memory(0x60000, 2)) == std::errc::value_too_large);
  CHECK(refused(0x1000, memory(top, 2)) == std::errc::value_too_large);
  CHECK(refused(0x10fff, memory(0x60000, 1)) == std::errc::address_in_use);
  CHECK(refused(0x0f001, memory(0x60000, 0x1000)) == std::errc::address_in_use);
  CHECK(refused(0x10000, memory(0x60000, 0x1000)) == std::errc::address_in_use);
  CHECK(refused(0x20000, memory(0x50fff, 1)) == std::errc::address_in_use);
  CHECK(refused(0x20000, memory(0x4f001, 0x1000)) == std::errc::address_in_use);
  REQUIRE(table.add_at(0x20000, memory(0x70000, 0x1000)));
  CHECK(refused(0x30000, memory(0x80000, 0x1000)) == std::errc::argument_list_too_long);
  CHECK(table.add_at(0x11000, memory(0x51000, 0x1000)).has_value());  // joins, so it needs no entry
}

TEST_CASE("table: an error says where") {
  memory_table table;
  REQUIRE(table.add_at(0x1000, memory(0x50000, 0x1000)));
  CHECK(table.add_at(0x1800, memory(0x60000, 0x10)).error().message() ==
        "memory_table guest=0x1800 host=0x60000 size=0x10: Address already in use (guest addresses "
        "overlap a region of the table)");
}

TEST_CASE("table: the top of the address space") {
  memory_table table(64, top - 0x1fff);
  CHECK(table.add(memory(0x50000, 0x1000)).value() == top - 0x1fff);
  CHECK(table.add(memory(0x60000, 0x1000)).value() == top - 0xfff);
  CHECK_FALSE(table.add(memory(0x70000, 1)));
  const auto piece = table.translate(top - 3, 100, memory_access::write);
  CHECK(piece.data() == at(0x60ffc));
  CHECK(piece.size() == 4);
  CHECK(table.translate(0, 1, memory_access::read).empty());
}

TEST_CASE("table: an empty table refuses everything") {
  const memory_table table;
  table_cursor cursor(table);
  CHECK(table.translate(0, 1, memory_access::read).empty());
  CHECK_FALSE(table.guest_of(memory(0x1000, 1)));
  CHECK(cursor.translate(0, 1, memory_access::read).empty());
  CHECK_FALSE(cursor.guest_of(memory(0x1000, 1)));
  CHECK(table.regions().empty());
}

TEST_CASE("table: no bytes wanted, none found") {
  memory_table table;
  REQUIRE(table.add_at(0x1000, memory(0x50000, 0x1000)));
  CHECK(table.translate(0x1000, 0, memory_access::read).empty());
  CHECK(table_cursor(table).translate(0x1000, 0, memory_access::read).empty());
}

TEST_CASE("table: random tables agree with a naive model") {
  std::mt19937_64 random(20240607);
  const auto below = [&](std::uint64_t n) { return random() % n; };
  std::size_t accepted = 0;
  std::size_t refused = 0;
  std::size_t several_pieces = 0;
  for (int round = 0; round < 600; ++round) {
    // A window of 64 cells of one size, placed at either end of the address space or inside it.
    const std::uint64_t cell = std::uint64_t{1} << below(14);
    const std::uint64_t window = cell * 64;
    const std::array<std::uint64_t, 4> guest_bases{0, top - window + 1, top - window / 2 + 1,
                                                   random() % (top - window)};
    const std::array<std::uint64_t, 3> host_bases{cell, top - window + 1, 0x7f00'0000'0000};
    const std::uint64_t guest_base = guest_bases[below(4)];
    const std::uint64_t host_base = host_bases[below(3)];
    memory_table table(1000);
    naive_table naive;
    for (std::uint64_t n = below(40); n > 0; --n) {
      const std::uint64_t guest = guest_base + cell * below(64);  // may wrap round to the low end
      // Half of the time at the same offset in both, so that neighbours can be coalesced.
      const std::uint64_t host =
          host_base + (below(2) == 0 ? guest - guest_base : cell * below(64));
      const std::uint64_t size = below(8) == 0 ? below(3 * cell) : cell * (1 + below(3));
      const bool taken =
          table.add_at(guest, memory(host, static_cast<std::size_t>(size))).has_value();
      REQUIRE(taken == naive.accepts(guest, host, size));
      if (taken) naive.regions.push_back({guest, at(host), size});
      ++(taken ? accepted : refused);
    }
    for (std::size_t i = 1; i < table.regions().size(); ++i) {
      const auto& low = table.regions()[i - 1];
      const auto& high = table.regions()[i];
      REQUIRE(low.guest < high.guest);
      REQUIRE_FALSE((low.guest + low.size == high.guest &&
                     at(reinterpret_cast<std::uintptr_t>(low.host) + low.size) == high.host));
    }

    table_cursor cursor(table);
    for (int probe = 0; probe < 200; ++probe) {
      std::uint64_t guest = guest_base + below(window);
      if (!naive.regions.empty() && below(2) == 0) {  // the edges of a region, one byte off too
        const auto& r = naive.regions[below(naive.regions.size())];
        guest = r.guest + (below(2) == 0 ? 0 : r.size) + below(3) - 1;
      }
      const std::array<std::uint32_t, 4> lengths{0, 1, static_cast<std::uint32_t>(below(4 * cell)),
                                                 0xffff'ffff};
      const std::uint32_t length = lengths[below(4)];
      const auto expected = naive.translate(guest, length);
      REQUIRE(same(table.translate(guest, length, memory_access::read), expected));
      REQUIRE(same(cursor.translate(guest, length, memory_access::write), expected));
      if (!expected.empty()) {
        REQUIRE(table.guest_of(expected) == guest);
        REQUIRE(cursor.guest_of(expected) == guest);
        if (expected.size() < length) ++several_pieces;
      }
      const auto host = memory(host_base + below(window), below(2 * cell));
      const auto address = table.guest_of(host);
      REQUIRE(cursor.guest_of(host) == address);
      if (address && !host.empty()) {
        const auto back = naive.translate(*address, static_cast<std::uint32_t>(host.size()));
        REQUIRE(same(back, host));
      }
    }
  }
  CHECK(accepted > 1000);
  CHECK(refused > 1000);
  CHECK(several_pieces > 1000);
}

TEST_CASE("table: the kernel's limit is 64 where it cannot be read") {
  using vkring::test::fault_book;
  using vkring::test::faulty_sys;
  fault_book::get().reset({ENOENT, 1, "open"});
  CHECK(vkring::vhost_max_regions<faulty_sys>() == 64);
  fault_book::get().reset({EIO, 1, "read"});
  CHECK(vkring::vhost_max_regions<faulty_sys>() == 64);
  fault_book::get().reset({EINTR, 1, "open"});
  CHECK(vkring::vhost_max_regions<faulty_sys>() >= 1);
  CHECK(fault_book::get().clean());
}
