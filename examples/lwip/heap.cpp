// SPDX-License-Identifier: BSD-3-Clause

// Debian's liblwip takes all its memory from mem_malloc, which is a dynamic symbol of its own: defined
// in the program, the program's is the one that it uses. An lwIP that is compiled with the application
// would say so in its lwipopts.h.

#include "heap.hpp"

#include <lwip/mem.h>

#include <cstdint>
#include <cstdlib>
#include <span>

namespace {

vkring::buffer_pool* taken_from = nullptr;
vkring::buffer_pool* given_to = nullptr;

// What is smaller is no packet (the smallest, an ARP one, has 72 bytes with its pbuf), but one of lwIP's
// many notes about packets.
constexpr mem_size_t smallest_packet = 64;

}  // namespace

void lwip_example::allocate_packets_from(vkring::buffer_pool* pool) noexcept {
  taken_from = pool;
  if (pool != nullptr) given_to = pool;
}

extern "C" {

void* mem_malloc(mem_size_t size) {
  if (taken_from == nullptr || size < smallest_packet || size > taken_from->capacity()) {
    return std::malloc(size);
  }
  vkring::buffer_handle taken;
  if (taken_from->take({&taken, 1}) == 0) return nullptr;  // lwIP tries again later
  return taken_from->mapper()(vkring::buffer_pool::with_plain_header(taken, false)).payload;
}

void mem_free(void* memory) {
  const std::span one(static_cast<const std::byte*>(memory), 1);
  if (memory == nullptr || given_to == nullptr || !given_to->regions()[0].address_of(one)) {
    std::free(memory);
    return;
  }
  const vkring::buffer_handle handle{reinterpret_cast<std::uintptr_t>(memory)};
  given_to->put({&handle, 1});
}

}  // extern "C"
