#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The ctest entry bench_shape: a moment of the benchmarks of rings, with what arrives checked and no time
# looked at; then one round of bench/ring_pair.sh, and bench/plot on what it wrote.
#
#   bench/shape.sh BUILD_DIRECTORY
set -eu
VKRING_BUILD=$1
export VKRING_BUILD
bench=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT PIPE TERM

fail() {
  echo "bench_shape: $1" >&2
  exit 1
}

# runs PROGRAM AT_LEAST FILTER: the cases run, and there are so many.
runs() {
  "$VKRING_BUILD/bench/$1" --benchmark_min_time=0.0001 --benchmark_filter="$3" >"$work/out" 2>"$work/err" || {
    cat "$work/err" >&2
    fail "$1"
  }
  [ "$(grep -c ^ring_ "$work/out")" -ge "$2" ] || fail "$1 has fewer cases than $2"
}
runs ring_pair 80 'size:(64|256)/burst:(1|32)/|ping_pong'
runs ring_pair_unchecked 6 '(split|packed)/.*size:256/burst:32/real_time'
runs ring_loopback 50 'size:(64|256)/burst:(1|32)$'

# refuses STATUS WORD COMMAND...: fails in that way, and says WORD.
refuses() {
  expected=$1 word=$2 status=0
  shift 2
  "$@" >"$work/out" 2>"$work/err" || status=$?
  [ $status = "$expected" ] && grep -q -e "$word" "$work/err" || fail "$*: $status, $(cat "$work/err")"
}
refuses 2 --cpus "$VKRING_BUILD/bench/ring_pair" --cpus 0
refuses 2 --runs "$bench/ring_pair.sh" --runs none
refuses 2 --ringtest "$bench/ring_pair.sh" --ringtest "$work"

"$bench/ring_pair.sh" --runs 1 --time 0.0001 --out "$work/figures.json" descriptors size >"$work/tables"
grep -q '^| split/descriptors/size:256/burst:32 | [0-9.]* ' "$work/tables" || fail 'no table'

if /usr/bin/python3 -c 'import matplotlib' 2>"$work/err"; then
  "$bench/plot" "$work/figures.json" "$work/once"
  "$bench/plot" "$work/figures.json" "$work/twice"
  for name in ring_pair_size.svg ring_pair_size.png; do
    [ -s "$work/once/$name" ] || fail "bench/plot wrote no $name"
    cmp "$work/once/$name" "$work/twice/$name" || fail "bench/plot draws $name anew each time"
  done
  echo '{}' >"$work/empty.json"
  refuses 2 empty.json "$bench/plot" "$work/empty.json" "$work/none"
else
  echo 'skipped: bench_shape: plot: python3-matplotlib is not installed'
  [ -z "${VKRING_SKIP_LOG:-}" ] ||
    printf 'bench_shape: plot\tpython3-matplotlib is not installed\n' >>"$VKRING_SKIP_LOG"
fi
