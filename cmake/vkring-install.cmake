# SPDX-License-Identifier: BSD-3-Clause
# Installation, and the same package usable from the build tree (-Dvkring_DIR=<build>/cmake).

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_DATAROOTDIR}/cmake/vkring")
set(tree_dir "${PROJECT_BINARY_DIR}/cmake")

# An export set for each component: who asks for none needs none of their dependencies.
foreach(name IN ITEMS vkring LISTS vkring_components)
  if(name STREQUAL "vkring")
    set(target vkring)
    set(export vkring-targets)
  else()
    set(target vkring-${name})
    set(export vkring-${name}-targets)
  endif()
  install(TARGETS ${target} EXPORT ${export} FILE_SET HEADERS COMPONENT vkring-dev)
  install(EXPORT ${export} NAMESPACE vkring:: DESTINATION "${package_dir}" COMPONENT vkring-dev)
  export(EXPORT ${export} NAMESPACE vkring:: FILE "${tree_dir}/${export}.cmake")
endforeach()

configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/vkring-config.cmake.in"
                              "${tree_dir}/vkring-config.cmake" INSTALL_DESTINATION "${package_dir}")
# While the major version is 0, a new minor version may break what an older one promised.
write_basic_package_version_file("${tree_dir}/vkring-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
configure_file("${PROJECT_SOURCE_DIR}/cmake/dpdk-driver-sdk.cmake" "${tree_dir}" COPYONLY)
install(FILES "${tree_dir}/vkring-config.cmake" "${tree_dir}/vkring-config-version.cmake"
              "${tree_dir}/dpdk-driver-sdk.cmake"
        DESTINATION "${package_dir}" COMPONENT vkring-dev)

# Relative to the place of the file, so that the tree can be installed or moved anywhere.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX
           BASE_DIRECTORY "${CMAKE_INSTALL_FULL_DATAROOTDIR}/pkgconfig"
           OUTPUT_VARIABLE pc_to_prefix)
set(pc_includedir "\${prefix}")
cmake_path(APPEND pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
configure_file("${PROJECT_SOURCE_DIR}/cmake/vkring.pc.in" "${tree_dir}/vkring.pc" @ONLY)
install(FILES "${tree_dir}/vkring.pc" DESTINATION "${CMAKE_INSTALL_DATAROOTDIR}/pkgconfig"
        COMPONENT vkring-dev)
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}"
        COMPONENT vkring-dev)
