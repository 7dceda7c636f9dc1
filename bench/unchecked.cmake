# SPDX-License-Identifier: BSD-3-Clause
# ring_pair once more, from headers that believe what the other side wrote: what the checks cost.
# They are taken out of copies in the build tree, so that the headers themselves have no such door.

set(unchecked_dir "${CMAKE_CURRENT_BINARY_DIR}/unchecked")

# vkring_assume(HEADER VALUE CONDITIONS...): each of CONDITIONS, which an if of HEADER asks for just once,
# is VALUE in the copy.
function(vkring_assume header value)
  set(original "${PROJECT_SOURCE_DIR}/include/vkring/${header}")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${original}")
  file(READ "${original}" text)
  foreach(condition IN LISTS ARGN)
    string(FIND "${text}" "if (${condition})" first)
    string(FIND "${text}" "if (${condition})" last REVERSE)
    if(first EQUAL -1 OR NOT first EQUAL last)
      message(FATAL_ERROR "bench/unchecked.cmake: \"if (${condition})\" is not in ${header} once")
    endif()
    string(REPLACE "if (${condition})" "if (${value})" text "${text}")
  endforeach()
  file(GENERATE OUTPUT "${unchecked_dir}/vkring/${header}" CONTENT "${text}")
endfunction()

vkring_assume(ring/split_device.hpp false
  "seen - used_ > size_ || seen - used_ < avail_seen_ - used_"
  "head > mask"
  "buffer.size() != split_descriptor::length(rest)")
vkring_assume(ring/split_driver.hpp false
  "seen - used_ > published_ - used_ || seen - used_ < used_seen_ - used_"
  "Access::load(elements[slot].id) != slot")
# What else a packed ring compares says whether there is anything at all.
vkring_assume(ring/packed_device.hpp false
  "id >= size"
  "buffer.size() != length")
# One region holds everything.
vkring_assume(memory/table.hpp true
  "end >= length && end <= last_.size")

vkring_add_program(bench_ring_pair_unchecked ring_pair.cpp)
set_target_properties(bench_ring_pair_unchecked PROPERTIES OUTPUT_NAME ring_pair_unchecked)
target_include_directories(bench_ring_pair_unchecked BEFORE PRIVATE "${unchecked_dir}")
# Of what was only compared.
target_compile_options(bench_ring_pair_unchecked
                       PRIVATE -Wno-unused-variable -Wno-unused-but-set-variable)
target_link_libraries(bench_ring_pair_unchecked PRIVATE benchmark::benchmark)
add_dependencies(benchmarks bench_ring_pair_unchecked)
