#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# TCP (iperf3) between two network namespaces, each end's stack on a TAP, or on one end of a veth pair:
#
#   loop        a bare loop of read and write between the two TAPs (tap_bridge)
#   fwd         vkring-fwd with its defaults
#   *-1cpu      the same on one CPU, vkring-fwd with `--cores 0 --wait interrupt` and, on both ports,
#               `worker-cpus=0,busyloop=0`
#   loop-2      the loop with a thread for each direction
#   veth        no user space at all
#   again       the first row once more, the control
#
#   bench/iperf.sh [ROUNDS [SECONDS]]    7 rounds of 5 seconds each, unless told otherwise
#
# Every round runs all of them, each second one backwards. Prints Gbit/s, and its ratio to the bare
# loop's in the same round: the median, the least, the most. Takes the programs from
# build/gcc-release, or VKRING_BUILD. Needs root, iperf3 and jq; the namespaces are its own.
set -eu
cd "$(dirname "$0")/.."
build=${VKRING_BUILD:-build/gcc-release}
rounds=${1:-7} seconds=${2:-5}
a=vkbench-a-$$ b=vkbench-b-$$
work=$(mktemp -d)

finish() {
  [ -z "${running:-}" ] || kill "$running" 2>/dev/null || true
  [ -z "${server:-}" ] || kill "$server" 2>/dev/null || true
  ip netns del "$a" 2>/dev/null || true
  ip netns del "$b" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' HUP INT PIPE TERM

bridge() { # ARGUMENTS...
  ${pinned:+taskset -c 0} "$build/bench/tap_bridge" "$@" "$a" 10.9.9.1/24 "$b" 10.9.9.2/24 >/dev/null &
  running=$!
}
forward() { # ARGUMENTS...
  more=${pinned:+,worker-cpus=0,busyloop=0}
  "$build/examples/vkring-fwd" "$@" --port "tap:name=tap0,netns=$a,ip=10.9.9.1/24$more" \
    --port "tap:name=tap0,netns=$b,ip=10.9.9.2/24$more" >/dev/null &
  running=$!
}
# start PATH: the path between 10.9.9.1 in $a and 10.9.9.2 in $b, served by $running.
start() {
  running=
  pinned=
  case $1 in
    veth)
      ip -n "$a" link add tap0 type veth peer name tap0 netns "$b"
      ip -n "$a" address add 10.9.9.1/24 dev tap0
      ip -n "$b" address add 10.9.9.2/24 dev tap0
      ip -n "$a" link set tap0 up
      ip -n "$b" link set tap0 up
      ;;
    loop | again) bridge ;;
    loop-2) bridge --threads 2 ;;
    loop-1cpu) pinned=yes && bridge ;;
    fwd) forward ;;
    fwd-1cpu) pinned=yes && forward --cores 0 --wait interrupt ;;
  esac
}
stop() {
  if [ -n "$running" ]; then
    kill "$running"
    wait "$running" 2>/dev/null || true
    running=
  else
    ip -n "$a" link del tap0
  fi
}

measure() { # PATH
  start "$1"
  ip -n "$a" neigh flush all
  tries=0
  until ip netns exec "$a" ping -q -c 1 -W 1 10.9.9.2 >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || { echo "iperf.sh: no way through $1" >&2 && exit 1; }
  done
  timeout $((seconds + 10)) ip netns exec "$a" \
    iperf3 --client 10.9.9.2 --time "$seconds" --omit 1 --json >"$work/json" ||
    { echo "iperf.sh: iperf3 failed over $1" >&2 && exit 1; }
  stop
  jq '.end.sum_received.bits_per_second / 1e9' "$work/json" >>"$work/$1"
}

ip netns add "$a"
ip netns add "$b"
ip netns exec "$b" iperf3 --server >/dev/null 2>&1 &
server=$!
paths='loop fwd loop-1cpu fwd-1cpu loop-2 veth again'
backwards='again veth loop-2 fwd-1cpu loop-1cpu fwd loop'
round=0
while [ "$round" -lt "$rounds" ]; do
  [ $((round % 2)) = 0 ] && order=$paths || order=$backwards
  for path in $order; do measure "$path"; done
  round=$((round + 1))
done

echo "$(uname -sr), $(nproc) CPUs"
echo "path        Gbit/s  least   most   of the bare loop: median, least, most"
for path in $paths; do
  sort -n "$work/$path" >"$work/sorted"
  paste "$work/$path" "$work/loop" | awk '{ print $1 / $2 }' | sort -n >"$work/ratios"
  middle=$(((rounds + 1) / 2))
  printf '%-11s %6.2f %6.2f %6.2f   %.2f  %.2f  %.2f\n' "$path" \
    "$(sed -n "${middle}p" "$work/sorted")" "$(head -n 1 "$work/sorted")" "$(tail -n 1 "$work/sorted")" \
    "$(sed -n "${middle}p" "$work/ratios")" "$(head -n 1 "$work/ratios")" "$(tail -n 1 "$work/ratios")"
done
