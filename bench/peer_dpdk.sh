#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Frames of 64 bytes from one CPU to another, by DPDK and by vkring: rows of peer_dpdk and ring_pair
# in rounds. Every round runs all rows of a group, each second one backwards. Prints millions of
# frames per second, and their ratio to the first row of the group in the same round: the median,
# the least and the most. The first row runs twice: its ratio to itself says what a difference means.
# Last, how much other programs (and the machine's host) took, which should be next to nothing.
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

# The median, the least and the most of what is read.
range() {
  sort -g | awk '{ x[NR] = $1 }
    END { m = (x[int((NR + 1) / 2)] + x[int(NR / 2) + 1]) / 2
          printf "%.2f [%.2f, %.2f]", m, x[1], x[NR] }'
}

# In jiffies: the time of all CPUs, what of it was worked, and what of that by this script's programs.
jiffies() {
  awk 'NR == 1 { for (i = 2; i <= 9; i++) all += $i; busy = all - $5 - $6 }
    NR != FNR { print all, busy, $16 + $17 }' /proc/stat /proc/$$/stat
}

# run ROW: appends to the file of the row.
run() {
  row=$1
  [ "$row" != again ] || row=$first
  "$programs/${row%%/*}" --benchmark_filter="^$row/real_time\$" --benchmark_min_time=0.5 \
    --benchmark_format=json >"$work/json" 2>"$work/errors" || {
    cat "$work/errors" >&2
    exit 1
  }
  jq -e '.benchmarks[0].frames_per_s / 1e6' "$work/json" >>"$work/$(echo "$1" | tr / _)" || {
    echo "$row: no such row: $(cat "$work/errors")" >&2
    exit 1
  }
}

group() {
  rows=$(rows_of "$1")
  first=${rows%%[[:space:]]*}
  backwards=
  for row in $rows; do backwards="$row $backwards"; done
  rm -f "$work"/*
  before=$(jiffies)
  round=0
  while [ $round -lt "$rounds" ]; do
    order=$rows
    [ $((round % 2)) = 0 ] || order=$backwards
    for row in $order; do run "$row"; done
    round=$((round + 1))
  done
  after=$(jiffies)
  printf '\n%s\n' "$1"
  for row in $rows; do
    file=$work/$(echo "$row" | tr / _)
    printf '  %-42s %-22s %s\n' "$row" "$(range <"$file")" \
      "$(paste "$file" "$work/$(echo "$first" | tr / _)" | awk '{ print $1 / $2 }' | range)"
  done
  echo "$before $after" | awk '
    { printf "  others: %.0f %% of all CPUs\n", 100 * ($5 - $2 - ($6 - $3)) / ($4 - $1) }'
}

echo "$(uname -sr), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs," \
  "DPDK $(pkg-config --modversion libdpdk)"
for each; do group "$each"; done
