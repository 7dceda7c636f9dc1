#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The rows of tap_path against the system calls that a program would make itself, in rounds: every
# round runs all rows, each second one backwards. Prints the median, the least and the most of each
# figure, and the same of its ratio to the first row of its group in the same round. The first row runs
# twice: its ratio to itself says what a difference means.
#
#   bench/tap_path.sh [ROUNDS]    7 unless told otherwise
#
# Takes the program from build/gcc-release, or VKRING_BUILD. Needs root and jq.
set -eu
cd "$(dirname "$0")/.."
program=${VKRING_BUILD:-build/gcc-release}/bench/tap_path
rounds=${1:-7}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT PIPE TERM

# Of all CPUs, in percent, over some seconds.
busy() {
  { head -n 1 /proc/stat && sleep 3 && head -n 1 /proc/stat; } | awk '
    { idle[NR] = $5; for (i = 2; i <= 9; i++) all[NR] += $i }
    END { printf "%d", 100 - 100 * (idle[2] - idle[1]) / (all[2] - all[1]) }'
}

# run GROUP ROW FIGURE...: a row of a group, `again` being the first one.
run() {
  row=$2
  [ "$row" != again ] || row=$first
  "$program" --benchmark_filter="^tap_path/$row/$1/" --benchmark_min_time=1 --benchmark_format=json \
    >"$work/json" 2>/dev/null
  for figure in $figures; do
    jq ".benchmarks[0].$figure" "$work/json" >>"$work/$(echo "$1" | tr / _).$2.$figure"
  done
}

# group NAME FIGURES ROWS...
group() {
  name=$1 figures=$2 first=$3
  shift 2
  backwards=
  for row; do backwards="$row $backwards"; done
  round=0
  while [ $round -lt "$rounds" ]; do
    order=$*
    [ $((round % 2)) = 0 ] || order=$backwards
    for row in $order; do run "$name" "$row"; done
    round=$((round + 1))
  done
  for figure in $figures; do
    printf '\n%s, %s\n' "$name" "$figure"
    for row; do
      file=$work/$(echo "$name" | tr / _)
      printf '  %-8s %s   to %s %s\n' "$row" "$(range %.4g <"$file.$row.$figure")" "$first" \
        "$(paste "$file.$row.$figure" "$file.$first.$figure" |
          awk '{ print $2 == 0 ? 1 : $1 / $2 }' | range %.2f)"
    done
  done
}
# The median, the least and the most of what is read.
range() { sort -g | awk -v f="$1" '{ x[NR] = $1 } END { printf f " [" f ", " f "]", x[int((NR + 1) / 2)], x[1], x[NR] }'; }

echo "$(uname -sr), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs," \
  "$(busy) % busy before"
group tx/frame:64 items_per_second writev worker uring again
group tx/frame:1514 items_per_second writev worker uring again
group tx_paced/frame:64 'app_ns all_ns' writev worker uring again
for rate in 50000 100000 120000 200000; do
  group rx_paced/frame:64/rate:$rate 'app_ns all_ns lost' read worker uring again
done
