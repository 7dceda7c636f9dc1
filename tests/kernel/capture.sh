#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What the program tap_capture, in VKRING_PROGRAMS_DIR, writes about its queues is what tcpdump reads, and has the
# offloads with it.
. "$VKRING_SOURCE_DIR/tests/support/fwd.sh"

for each in "$VKRING_PROGRAMS_DIR/tap_capture" tcpdump; do
  command -v "$each" >/dev/null || {
    echo "skipped: there is no $each" >&2
    exit 77
  }
done
"$VKRING_PROGRAMS_DIR/tap_capture" >"$work/out" 2>"$work/err"
same 'no file' "$? $(cat "$work/err")" '2 tap_capture FILE [FRAMES]: FILE is missing'

make_netns kernel
: >"$work/out"
ip netns exec "kernel-$$" timeout 60 "$VKRING_PROGRAMS_DIR/tap_capture" "$work/capture" >"$work/out" 2>"$work/err" &
running=$!
helpers="$helpers $running"
wait_for grep -q 'is up' "$work/out" || failed 'tap0 does not come up'
at kernel ip neighbour replace 10.9.0.2 lladdr 02:00:00:00:00:09 dev tap0
# ping -c sends what it says, whether there are answers or not.
at kernel ping -q -c 3 -i 0.2 -W 1 10.9.0.2 >"$work/ping"
# A connection whose first packet's checksum is left open.
at kernel iperf3 --client 10.9.0.2 --connect-timeout 500 >"$work/iperf" 2>&1

# captured FILTER...: lines of tcpdump.
captured() { tcpdump -n -e -r "$work/capture" "$@" 2>"$work/err"; }
has() { # COUNT FILTER...
  expected=$1
  shift
  [ "$(captured "$@" | wc -l)" -ge "$expected" ]
}
wait_for has 6 icmp || failed "pings: $(captured)"
wait_for has 2 'tcp[tcpflags] & tcp-syn != 0' || failed "connection: $(captured)"
captured | head -n 12
same 'a comment for each that has offloads' \
  "$(grep -a -q 'flags=needs_csum gso=none csum_start=34 csum_offset=16' "$work/capture" && echo yes)" yes
same 'names of the queues' "$(grep -a -o -E 'tap0 (rx|tx) 0' "$work/capture" | wc -l)" 2
