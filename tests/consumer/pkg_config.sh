#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Usage: pkg_config.sh PREFIX VERSION COMPILER BUILD_FOLDER
# Builds the consumer with nothing but what pkg-config says of the vkring installed under PREFIX.
set -eu
prefix=$1 version=$2 compiler=$3 build=$4
source=$(dirname "$0")

PKG_CONFIG_PATH=$prefix/share/pkgconfig
export PKG_CONFIG_PATH
found=$(pkg-config --modversion vkring)
if [ "$found" != "$version" ]; then
  echo "pkg-config finds vkring $found and not $version" >&2
  exit 1
fi

mkdir -p "$build"
# Unquoted, as the flags are words.
# shellcheck disable=SC2046
"$compiler" -std=c++20 $(pkg-config --cflags vkring) "$source/first.cpp" "$source/second.cpp" \
  -o "$build/consumer" $(pkg-config --libs vkring)
"$build/consumer"
