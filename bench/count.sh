#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Instructions per frame of each verb of ring_loopback or mbuf_loopback, counted by callgrind.
#
#   bench/count.sh [PROGRAM]          prints them
#   bench/count.sh PROGRAM --write    and keeps them in bench/counts.txt (mbuf_counts.txt)
#   bench/count.sh PROGRAM --check BUILD
#                                     and fails if one is more than 5 % above those kept
#
# PROGRAM is bench/ring_loopback, that of build/gcc-release unless told otherwise. A verb is a
# function that is not inlined, and all that it calls.
# BUILD says how PROGRAM was built: --check skips any build but "x86_64 GNU 12 Release", because
# others count differently.
# Exit status: 0 fine; 1 a count has risen, a verb is gone or new, or nothing could be counted;
# 77 skipped.
set -eu

program=${1:-$(dirname "$0")/../build/gcc-release/bench/ring_loopback}
mode=${2:-}
counted='x86_64 GNU 12 Release'
family=$(basename "$program")
case $family in
  mbuf_loopback) test=bench_mbuf_counts kept=$(dirname "$0")/mbuf_counts.txt options='as libdpdk wants it' ;;
  *) test=bench_counts kept=$(dirname "$0")/counts.txt options='no -march' ;;
esac

# skip CASE REASON
skip() {
  echo "skipped: $test: $1: $2"
  [ -z "${VKRING_SKIP_LOG:-}" ] || printf '%s: %s\t%s\n' "$test" "$1" "$2" >>"$VKRING_SKIP_LOG"
  exit 77
}
if [ "$mode" = --check ]; then
  [ "$3" = "$counted" ] || skip "$3" "the counts are those of $counted"
  command -v valgrind >/dev/null || skip "$3" "valgrind is not installed"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
turns=1000

# count LAYOUT CASE VERBS...: VERBS with a plus are sums.
count() {
  name=$1/$2
  case $2 in
    */*) full=$family/$1/${2%%/*}/size:256/burst:32/${2#*/} ;;
    *) full=$family/$1/$2/size:256/burst:32 ;;
  esac
  shift 2
  frames=$(valgrind --quiet --tool=callgrind --callgrind-out-file="$work/out" \
    "$program" --count $turns "$full" 2>"$work/err") || {
    cat "$work/err" >&2
    return 1
  }
  callgrind_annotate --inclusive=yes --threshold=100 "$work/out" >"$work/costs"
  for verbs; do
    awk -v frames="$frames" -v verbs="$verbs" -v name="$name" '
      BEGIN { split(verbs, list, "+"); for (i in list) wanted[list[i]] = 1 }
      match($0, /bench::[a-z_]+<[a-z0-9_:, ]+>::[a-z_]+\(/) {
        cost = $1
        gsub(",", "", cost)
        verb = substr($0, RSTART, RLENGTH - 1)
        sub(/.*::/, "", verb)
        if (verb in wanted) { sum += cost; delete wanted[verb] }
      }
      END {
        for (verb in wanted) { print name ": callgrind saw no " verb > "/dev/stderr"; exit 1 }
        printf "%-24s %-14s %6.2f\n", name, verbs, sum / frames
      }' "$work/costs"
  done
}

for layout in split packed; do
  if [ $family = mbuf_loopback ]; then
    count $layout mbuf_tx tx_burst allocate
    count $layout mbuf_rx rx_burst release
    count $layout mbuf_rx/mergeable rx_burst
    continue
  fi
  count $layout lease_tx send reclaim send+reclaim allocate fill
  count $layout lease_rx receive release read
  count $layout lease_rx/mergeable receive
  count $layout slot_tx commit reclaim commit+reclaim reserve fill
  count $layout slot_rx peek release peek+release read
  count $layout device_tx pop push pop+push
  count $layout device_rx pop push pop+push
done >"$work/counts"
cat "$work/counts"

case $mode in
  --write)
    {
      echo "# Instructions per frame, counted by bench/count.sh: g++ 12 -O3, $options, 64-byte frames,"
      echo '# bursts of 32, ring of 256. A change that makes one rise by more than 5 % fails a test.'
      cat "$work/counts"
    } >"$kept"
    ;;
  --check)
    awk '
      /^#/ { next }
      { key = $1 " " $2 }
      NR == FNR { limit[key] = $3 * 1.05 + 0.005; kept[key] = $3; next }
      !(key in limit) { print key " is not in the kept counts"; bad = 1; next }
      $3 > limit[key] { print key " rose from " kept[key] " to " $3; bad = 1 }
      { delete limit[key] }
      END {
        for (key in limit) { print key " was not counted"; bad = 1 }
        exit bad
      }' "$kept" "$work/counts" >&2
    ;;
esac
