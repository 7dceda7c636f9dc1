# SPDX-License-Identifier: BSD-3-Clause
# Target dpdk-driver-sdk, when there is a folder with ethdev_driver.h: the headers that a driver of
# the DPDK of PkgConfig::libdpdk is compiled with, and not its libraries. The application that loads a
# driver has those: with some of its own, a driver would bring a second EAL into one that is linked
# statically.

find_path(VKRING_DPDK_SDK ethdev_driver.h HINTS ${libdpdk_INCLUDE_DIRS}
          DOC "The folder of ethdev_driver.h, of the driver SDK of the DPDK that pkg-config finds")
if(TARGET PkgConfig::libdpdk AND NOT TARGET dpdk-driver-sdk AND EXISTS "${VKRING_DPDK_SDK}/ethdev_driver.h")
  add_library(dpdk-driver-sdk INTERFACE IMPORTED)
  target_include_directories(
    dpdk-driver-sdk INTERFACE "${VKRING_DPDK_SDK}"
                    $<TARGET_PROPERTY:PkgConfig::libdpdk,INTERFACE_INCLUDE_DIRECTORIES>)
  target_compile_options(dpdk-driver-sdk
                         INTERFACE $<TARGET_PROPERTY:PkgConfig::libdpdk,INTERFACE_COMPILE_OPTIONS>)
  target_compile_definitions(dpdk-driver-sdk INTERFACE ALLOW_INTERNAL_API ALLOW_EXPERIMENTAL_API)
endif()
