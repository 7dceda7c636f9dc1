# SPDX-License-Identifier: BSD-3-Clause
# Target site: the pages and the reference, in the folder site/html of the build. It fails on a
# warning, a public declaration that is not documented for one. tests/unit/site.sh does the same.

find_package(Doxygen 1.9.4 QUIET)
if(NOT DOXYGEN_FOUND)
  message(STATUS "site is left out: doxygen was not found")
  return()
endif()
add_custom_target(
  site
  COMMAND
    ${CMAKE_COMMAND} -E env VKRING_VERSION=${PROJECT_VERSION}
    "VKRING_SITE=${PROJECT_BINARY_DIR}/site" $<TARGET_FILE:Doxygen::doxygen> docs/site/Doxyfile
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
  VERBATIM)
