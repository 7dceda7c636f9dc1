# SPDX-License-Identifier: BSD-3-Clause
# The interface targets: vkring::vkring, and a component for each optional dependency that is here.

find_package(tl-expected QUIET)
if(NOT tl-expected_FOUND)
  message(FATAL_ERROR "vkring needs tl-expected (Debian: libexpected-dev)")
endif()
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# vkring_add_headers(TARGET FILES... LINK LIBRARIES...)
function(vkring_add_headers target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "FILES;LINK")
  add_library(${target} INTERFACE)
  target_sources(${target} INTERFACE FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include"
                                     FILES ${arg_FILES})
  target_compile_features(${target} INTERFACE cxx_std_20)
  target_link_libraries(${target} INTERFACE ${arg_LINK})
  set_target_properties(${target} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ${PROJECT_IS_TOP_LEVEL})
endfunction()

file(GLOB_RECURSE headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/vkring/*.hpp")
set(uring_headers ${headers})
set(fmt_headers ${headers})
set(dpdk_headers ${headers})
list(FILTER uring_headers INCLUDE REGEX "/vkring/io_uring\\.hpp$")
list(FILTER fmt_headers INCLUDE REGEX "/vkring/fmt\\.hpp$")
list(FILTER dpdk_headers INCLUDE REGEX "/vkring/dpdk/")
list(REMOVE_ITEM headers ${uring_headers} ${fmt_headers} ${dpdk_headers})

vkring_add_headers(vkring FILES ${headers} LINK Threads::Threads)
add_library(vkring::vkring ALIAS vkring)
# Found through an imported target, so a system header for consumers, whose warnings it escapes.
target_link_libraries(vkring INTERFACE tl::expected)
set(vkring_components "")

# vkring_add_component(NAME DEPENDENCY FILES...): target vkring::NAME on top of vkring::vkring, when
# the target DEPENDENCY exists.
function(vkring_add_component name dependency)
  if(NOT ARGN)
    return()
  endif()
  if(NOT TARGET ${dependency})
    message(STATUS "vkring::${name} is left out: ${dependency} was not found")
    return()
  endif()
  vkring_add_headers(vkring-${name} FILES ${ARGN} LINK vkring ${dependency})
  set_target_properties(vkring-${name} PROPERTIES EXPORT_NAME ${name})
  add_library(vkring::${name} ALIAS vkring-${name})
  set(vkring_components ${vkring_components} ${name} PARENT_SCOPE)
endfunction()

find_package(fmt QUIET)
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(liburing QUIET IMPORTED_TARGET liburing)
  pkg_check_modules(libdpdk QUIET IMPORTED_TARGET libdpdk)
endif()
vkring_add_component(uring PkgConfig::liburing ${uring_headers})
vkring_add_component(fmt fmt::fmt ${fmt_headers})

# Drivers of DPDK need headers of its driver SDK (a DPDK built with -Denable_driver_sdk=true), which
# Debian's libdpdk-dev lacks. Those of vkring that do say so.
set(pmd_headers ${dpdk_headers})
foreach(header IN LISTS pmd_headers)
  file(STRINGS "${header}" needs_sdk REGEX "^#include <ethdev_driver\\.h>" LIMIT_COUNT 1)
  if(needs_sdk)
    list(REMOVE_ITEM dpdk_headers "${header}")
  else()
    list(REMOVE_ITEM pmd_headers "${header}")
  endif()
endforeach()
include(dpdk-driver-sdk)
vkring_add_component(dpdk PkgConfig::libdpdk ${dpdk_headers})
vkring_add_component(pmd dpdk-driver-sdk ${pmd_headers})
