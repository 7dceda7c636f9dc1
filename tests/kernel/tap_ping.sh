#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The program of the README, in VKRING_PROGRAMS_DIR, answers the kernel's ping in a network namespace.
set -u

namespace=vkring-ping-$$
output=$(mktemp) || exit 1
trap 'ip netns del "$namespace"; rm -f "$output" "$output.ping"' EXIT
ip netns add "$namespace" || exit 1

# One ARP request and three echo requests.
ip netns exec "$namespace" timeout 20 "$VKRING_PROGRAMS_DIR/tap_ping" 4 >"$output" 2>&1 &
tries=100
until grep -q 'is up' "$output" || [ $tries = 0 ]; do
  tries=$((tries - 1))
  sleep 0.1
done
# The last answer is sent right before the program ends, and arrives all the same.
ip netns exec "$namespace" ping -c 3 -i 0.1 -W 2 10.9.0.2 | tee "$output.ping"
grep -q ' 0% packet loss' "$output.ping"
status=$?
wait $!
ended=$?
cat "$output"
[ $status = 0 ] && [ $ended = 0 ] && grep -qx '4 answers' "$output"
