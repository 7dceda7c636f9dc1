#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The program hand_over, in VKRING_PROGRAMS_DIR, takes an interface to and fro in a network namespace.
set -u

namespace=vkring-hand-over-$$
output=$(mktemp) || exit 1
trap 'ip netns del "$namespace"; rm -f "$output"' EXIT
ip netns add "$namespace" || exit 1
ip netns exec "$namespace" timeout 60 "$VKRING_PROGRAMS_DIR/hand_over" 5 >"$output" 2>&1
ended=$?
cat "$output"
[ $ended = 0 ] && [ "$(grep -c 'nobody served it for [0-9]* us; [0-9]* frames so far$' "$output")" = 5 ]
