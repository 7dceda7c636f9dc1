#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The lines of docs/vhost-net.md, in the folder and with the build that they speak of.
set -e
tests/vm/run -- build/gcc-release/examples/vkring-probe
tests/vm/run --kernel 6.1 -- build/gcc-release/tests/kernel_vhost_device
