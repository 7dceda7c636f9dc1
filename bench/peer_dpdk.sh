#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Frames of 64 bytes from one CPU to another, by DPDK and by vkring: rows of peer_dpdk and ring_pair
# in rounds. Every round runs all rows of a group, each second one backwards. Prints millions of
# frames per second, and their ratio to the first row of the group in the same round: the median,
# the least and the most, and of how many runs. The first row runs twice: its ratio to itself says
# what a difference means.
#
# A virtual machine's CPUs may be two cores now and two threads of one core a minute later, which is
# a factor of two or more. So before and after each run a cache line goes to and fro; `near` means
# more than 8 million times a second. What is near and what is far is kept apart; a run in
# between, or one that had to share a CPU with other programs, is made again, up to five times.
#
#   bench/peer_dpdk.sh [ROUNDS [GROUP...]]    10 rounds of all groups unless told otherwise:
#                                             split, packed, split-csum, packed-csum, no-ring
#
# Takes the programs from build/gcc-release, or VKRING_BUILD. Needs jq.
set -eu
cd "$(dirname "$0")/.."
programs=${VKRING_BUILD:-build/gcc-release}/bench
rounds=${1:-10}
[ $# = 0 ] || shift
[ $# != 0 ] || set -- split packed split-csum packed-csum no-ring
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT PIPE TERM

# The rows of a group, the rival first; PROGRAM/ROW as the program has them.
rows_of() {
  case $1 in
    no-ring) echo peer_dpdk/no_ring/send peer_dpdk/no_ring/receive ;;
    *)
      layout=${1%-csum}
      csum=${1#"$layout"}
      csum=$(echo "$csum" | tr - /)
      echo "peer_dpdk/virtio_user/$layout$csum"
      [ "$1" != packed ] || echo peer_dpdk/virtio_user/packed_vectorized
      echo "peer_dpdk/vkring_mbufs/$layout$csum"
      for way in lease slot; do echo "ring_pair/$layout/$way/size:256/burst:32$csum"; done
      echo again
      ;;
  esac
}

# measure ROW SECONDS: millions per second, and the share of its CPU that the first thread got.
measure() {
  "$programs/${1%%/*}" --benchmark_filter="^$1/real_time\$" --benchmark_min_time="$2" \
    --benchmark_format=json >"$work/json" 2>"$work/errors" || {
    cat "$work/errors" >&2
    exit 1
  }
  jq -er '.benchmarks[0] | "\(.frames_per_s / 1e6) \(.cpu_time / .real_time)"' "$work/json" || {
    echo "$1: no such row: $(cat "$work/errors")" >&2
    exit 1
  }
}

distance() { measure ring_pair/control/ping_pong 0.05 | awk '{ print ($1 > 8 ? "near" : "far") }'; }

# run ROW: adds ROUND FIGURE to the file of the row and its placement, if it comes off.
run() {
  row=$1
  [ "$row" != again ] || row=$first
  for _ in 1 2 3 4 5; do
    before=$(distance)
    figure=$(measure "$row" 0.5)
    if [ "$(distance)" = "$before" ] && [ "$(echo "$figure" | awk '{ print ($2 > 0.95) }')" = 1 ]; then
      echo "$round ${figure% *}" >>"$work/$before/$(echo "$1" | tr / _)"
      return
    fi
  done
}

# The median, the least and the most of what is read.
range() {
  sort -g | awk '{ x[NR] = $1 }
    END { if (NR == 0) { print "-"; exit }
          m = (x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2
          printf "%.2f [%.2f, %.2f]", m, x[1], x[NR] }'
}

group() {
  rows=$(rows_of "$1")
  first=${rows%%[[:space:]]*}
  backwards=
  for row in $rows; do backwards="$row $backwards"; done
  rm -rf "$work/near" "$work/far"
  mkdir "$work/near" "$work/far"
  round=0
  while [ $round -lt "$rounds" ]; do
    order=$rows
    [ $((round % 2)) = 0 ] || order=$backwards
    for row in $order; do run "$row"; done
    round=$((round + 1))
  done
  for place in near far; do
    rival=$work/$place/$(echo "$first" | tr / _)
    [ -e "$rival" ] || continue
    printf '\n%s, %s\n' "$1" "$place"
    for row in $rows; do
      file=$work/$place/$(echo "$row" | tr / _)
      [ -e "$file" ] || : >"$file"
      printf '  %-42s %-22s %-20s of %d\n' "$row" "$(cut -d ' ' -f 2 "$file" | range)" \
        "$(awk 'NR == FNR { of[$1] = $2; next } $1 in of { print $2 / of[$1] }' "$rival" "$file" |
          range)" "$(wc -l <"$file")"
    done
  done
}

echo "$(uname -sr), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs," \
  "DPDK $(pkg-config --modversion libdpdk)"
for each; do group "$each"; done
