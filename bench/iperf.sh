#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# TCP between two network namespaces: over a veth pair, through a bare loop between two TAPs
# (tap_bridge, with one thread and with two), and through vkring-fwd between two TAPs.
#
#   bench/iperf.sh [ROUNDS [SECONDS]]    7 rounds of 5 seconds each, unless told otherwise
#
# Takes the programs from build/gcc-release. Every round runs all of them, each second one backwards.
# Prints Gbit/s: the median, the least, the most, and the ratio of each round to the bare loop's, the
# second run of which is the control. Root; the namespaces are its own.
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
trap 'exit 1' INT TERM

# start PATH: the path between 10.9.9.1 in $a and 10.9.9.2 in $b, served by $running.
start() {
  running=
  case $1 in
    veth)
      ip -n "$a" link add tap0 type veth peer name tap0 netns "$b"
      ip -n "$a" address add 10.9.9.1/24 dev tap0
      ip -n "$b" address add 10.9.9.2/24 dev tap0
      ip -n "$a" link set tap0 up
      ip -n "$b" link set tap0 up
      ;;
    loop | again) "$build/bench/tap_bridge" "$a" 10.9.9.1/24 "$b" 10.9.9.2/24 >/dev/null & running=$! ;;
    loop2) "$build/bench/tap_bridge" --threads 2 "$a" 10.9.9.1/24 "$b" 10.9.9.2/24 >/dev/null & running=$! ;;
    vkring-fwd)
      # shellcheck disable=SC2086
      "$build/examples/vkring-fwd" ${VKRING_FWD_OPTIONS:-} --port "tap:name=tap0,netns=$a,ip=10.9.9.1/24" \
        --port "tap:name=tap0,netns=$b,ip=10.9.9.2/24" >"$work/fwd" &
      running=$!
      ;;
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
  tries=0
  until ip netns exec "$a" ping -q -c 1 -W 1 10.9.9.2 >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || { echo "iperf.sh: no way through $1" >&2 && exit 1; }
  done
  ip netns exec "$b" iperf3 --server --one-off >/dev/null 2>&1 &
  server=$!
  tries=0
  until ip netns exec "$a" iperf3 --client 10.9.9.2 --time "$seconds" --omit 1 --json >"$work/json" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || { echo "iperf.sh: iperf3 failed over $1" >&2 && exit 1; }
  done
  wait "$server" || true
  server=
  stop
  jq '.end.sum_received.bits_per_second / 1e9' "$work/json" >>"$work/$1"
}

ip netns add "$a"
ip netns add "$b"
paths='loop vkring-fwd loop2 veth again'
backwards='again veth loop2 vkring-fwd loop'
round=0
while [ "$round" -lt "$rounds" ]; do
  [ $((round % 2)) = 0 ] && order=$paths || order=$backwards
  for path in $order; do measure "$path"; done
  round=$((round + 1))
done

echo "path        Gbit/s  least   most   of the bare loop: median, least, most"
for path in $paths; do
  sort -n "$work/$path" >"$work/sorted"
  paste "$work/$path" "$work/loop" | awk '{ print $1 / $2 }' | sort -n >"$work/ratios"
  middle=$(((rounds + 1) / 2))
  printf '%-11s %6.2f %6.2f %6.2f   %.2f  %.2f  %.2f\n' "$path" \
    "$(sed -n "${middle}p" "$work/sorted")" "$(head -n 1 "$work/sorted")" "$(tail -n 1 "$work/sorted")" \
    "$(sed -n "${middle}p" "$work/ratios")" "$(head -n 1 "$work/ratios")" "$(tail -n 1 "$work/ratios")"
done
