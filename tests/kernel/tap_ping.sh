#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The programs of the README and of docs/embedding.md, in VKRING_PROGRAMS_DIR, answer the kernel's ping in
# a network namespace, each with its own way to wait.
set -u

namespace=vkring-ping-$$
output=$(mktemp) || exit 1
trap 'ip netns del "$namespace"; rm -f "$output" "$output.ping"' EXIT
ip netns add "$namespace" || exit 1

# answers PROGRAM N ADDRESS: what it has to answer for three echo requests.
answers() {
  : >"$output"
  ip netns exec "$namespace" timeout 20 "$VKRING_PROGRAMS_DIR/$1" "$2" >"$output" 2>&1 &
  tries=100
  until grep -q 'is up' "$output" || [ $tries = 0 ]; do
    tries=$((tries - 1))
    sleep 0.1
  done
  # The last answer is sent right before the program ends, and arrives all the same.
  ip netns exec "$namespace" ping -c 3 -i 0.1 -W 2 "$3" | tee "$output.ping"
  grep -q ' 0% packet loss' "$output.ping"
  status=$?
  wait $!
  ended=$?
  cat "$output"
  [ $status = 0 ] && [ $ended = 0 ] && grep -qx "$2 answers" "$output"
}
answers tap_ping 4 10.9.0.2 || exit 1 # one ARP request, too
for each in tun_ping ping_poll ping_epoll ping_uring ping_coroutine; do
  if [ $each = ping_uring ] && ! [ -e "$VKRING_PROGRAMS_DIR/$each" ]; then
    printf 'kernel_tap_ping: ping_uring\tno liburing\n' >>"${VKRING_SKIP_LOG:-/dev/null}"
    continue
  fi
  answers $each 3 10.8.0.2 || exit 1
done
