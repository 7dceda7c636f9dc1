# SPDX-License-Identifier: BSD-3-Clause
# What the tests, benchmarks and programs of vkring share. None of it reaches a consumer.

add_library(vkring-own INTERFACE)
target_link_libraries(vkring-own INTERFACE vkring)
target_compile_options(vkring-own INTERFACE -Wall -Wextra -Wconversion -Wshadow -Werror)

# What programs may include, beside vkring's components.
if(PkgConfig_FOUND)
  pkg_check_modules(lwip QUIET IMPORTED_TARGET lwip)
endif()

# vkring_add_program(TARGET SOURCES...): an executable with the warnings of vkring's own builds, the
# components whose headers the sources include, liburing and lwIP. Without what it needs it says so and
# makes no target.
function(vkring_add_program target)
  set(components "")
  set(libraries "")
  foreach(source IN LISTS ARGN)
    file(STRINGS "${source}" lines REGEX "^#include [<\"]vkring/(io_uring|fmt|dpdk)[./]")
    # What includes the driver itself has no application around it, and brings DPDK's libraries, too.
    list(TRANSFORM lines REPLACE "^.*vkring/dpdk/pmd\\.hpp.*$" "vkring/pmd;vkring/dpdk")
    list(TRANSFORM lines REPLACE "^.*vkring/([a-z_]+).*$" "\\1")
    list(APPEND components ${lines})
    file(STRINGS "${source}" lines REGEX "^#include <(liburing\\.h|lwip/)")
    list(TRANSFORM lines REPLACE "^.*<([a-z]+).*$" "PkgConfig::\\1")
    list(APPEND libraries ${lines})
  endforeach()
  list(REMOVE_DUPLICATES components)
  list(REMOVE_DUPLICATES libraries)
  list(TRANSFORM components REPLACE "^io_uring$" "uring")
  list(TRANSFORM components PREPEND "vkring::")
  list(APPEND components ${libraries})
  foreach(component IN LISTS components)
    if(NOT TARGET ${component})
      message(STATUS "${target} is left out: it needs ${component}")
      return()
    endif()
  endforeach()
  add_executable(${target} ${ARGN})
  target_link_libraries(${target} PRIVATE vkring-own ${components})
  if("vkring::pmd" IN_LIST components)
    # A driver itself, so pkg-config does not name it.
    target_link_directories(${target} PRIVATE "${libdpdk_LIBDIR}")
    target_link_libraries(${target} PRIVATE rte_bus_vdev)
  endif()
endfunction()
