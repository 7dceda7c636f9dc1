#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The rings in two threads on two CPUs against each other and against what else there is, in rounds: each
# round runs all rows of a table, every second one backwards. Prints tables in Markdown and writes all
# figures to a file, from which bench/plot draws.
#
#   bench/ring_pair.sh [--out FILE] [--runs N] [--time SECONDS] [--cpus A,B] [--ringtest PATH]
#                      [TABLE...]
#
# --out       where the figures go, as JSON: ring_pair.json in the build directory unless told otherwise
# --runs      runs of each row at least: 20 for descriptors, 10 for frames, 5 for the curves
# --time      of a run: 0.1
# --cpus      of the driver and the device: 0,1
# --ringtest  tools/virtio/ringtest of a Linux source tree, as in Debian's linux-source: its `ring` is
#             built in a temporary directory and run beside
# TABLE       descriptors, frames, options, burst, size; all of them unless told otherwise
#
# The two CPUs of a virtual machine may be two threads of one core at one time and two cores at another,
# which is a factor of three, or be moved further still. A cache line that goes to and fro before and
# after each round says which: within 150 ns they are near, within 480 far, else further. Rounds of each
# kind are a table of their own, and a round in which the kind changed is run again; where none came off,
# the last one is `unsteady`.
# Takes programs from build/gcc-release, or VKRING_BUILD. Needs jq. Exit status: 0; 1 something failed;
# 2 it makes no sense.
set -eu
cd "$(dirname "$0")/.."
build=${VKRING_BUILD:-build/gcc-release}
program=$build/bench/ring_pair
unchecked=$build/bench/ring_pair_unchecked
out=$build/ring_pair.json
runs= seconds=0.1 cpus=0,1 ringtest= tables=

usage() {
  echo "ring_pair.sh: $1" >&2
  exit 2
}
while [ $# != 0 ]; do
  case $1 in
    --*) [ $# != 1 ] || usage "$1: needs a value" ;;
  esac
  case $1 in
    --out) out=$2 ;;
    --runs)
      runs=$2
      [ "$runs" -gt 0 ] 2>/dev/null || usage "--runs: \"$2\" is no number of runs"
      ;;
    --time) seconds=$2 ;;
    --cpus) cpus=$2 ;;
    --ringtest)
      ringtest=$2
      [ -e "$ringtest/ring.c" ] || usage "--ringtest: there is no ring.c in $2"
      ;;
    descriptors | frames | options | burst | size)
      tables="$tables $1"
      shift
      continue
      ;;
    *) usage "\"$1\" is neither an option nor a table" ;;
  esac
  shift 2
done
command -v jq >/dev/null || usage 'needs jq (apt-get install jq)'
[ -n "$tables" ] || tables='descriptors frames options burst size'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT PIPE TERM
[ -z "$ringtest" ] || {
  mkdir "$work/ringtest"
  cp "$ringtest"/*.[ch] "$ringtest/Makefile" "$work/ringtest"
  make -s -C "$work/ringtest" ring
}

# rate PROGRAM CASE: its frames_per_s. A case that is skipped says why, on standard error, and has none.
rate() {
  "$1" --cpus "$cpus" --benchmark_filter="^$2/real_time\$" --benchmark_min_time="$seconds" \
    --benchmark_format=json >"$work/json" 2>"$work/err" || {
    cat "$work/err" >&2
    exit 1
  }
  jq -r '.benchmarks[0] // {error_message: "there is no such case"}
    | .frames_per_s // (.error_message | halt_error)' "$work/json" 2>"$work/why" ||
    echo "$2: $(cat "$work/why")" >>"$work/skipped"
}

# Nanoseconds of a cache line there and back.
ping() { rate "$program" ring_pair/control/ping_pong | awk '{ printf "%d", 1e9 / $1 }'; }

# How far the two CPUs are from each other.
kind_of() {
  if [ "$1" -lt 150 ]; then
    echo near
  elif [ "$1" -lt 480 ]; then
    echo far
  else
    echo further
  fi
}

# figure ROW: that of a row: the name of a case without its program; after `again/`, one that is a row
# already; after `unchecked/`, one without checks; or ringtest.
figure() {
  case $1 in
    ringtest)
      cycles=5000000
      started=$(date +%s%N)
      "$work/ringtest/ring" --guest-affinity "${cpus%,*}" --host-affinity "${cpus#*,}" --run-cycles $cycles
      awk -v n=$cycles -v ns=$(($(date +%s%N) - started)) 'BEGIN { print n / ns * 1e9 }'
      ;;
    again/*) rate "$program" "ring_pair/${1#again/}" ;;
    unchecked/*) rate "$unchecked" "ring_pair/${1#unchecked/}" ;;
    *) rate "$program" "ring_pair/$1" ;;
  esac
}

# table NAME RUNS ROWS...: runs rounds until one kind has as many as wanted, and gives up after three
# times as many.
table() {
  name=$1 wanted=${runs:-$2}
  shift 2
  backwards=
  for row; do backwards="$row $backwards"; done
  for kind in near far further; do : >"$work/rounds.$kind"; done
  printf '%s\n' "$@" >>"$work/order"
  round=0
  while [ $round -lt $((3 * wanted)) ]; do
    order=$*
    [ $((round % 2)) = 0 ] || order=$backwards
    round=$((round + 1))
    before=$(ping)
    kind=$(kind_of "$before")
    : >"$work/round"
    for row in $order; do
      value=$(figure "$row")
      [ -z "$value" ] || printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$kind" "$row" "$before" "$value" >>"$work/round"
    done
    [ "$(kind_of "$(ping)")" = "$kind" ] || continue
    cat "$work/round" >>"$work/figures"
    echo >>"$work/rounds.$kind"
    [ "$(wc -l <"$work/rounds.$kind")" -lt "$wanted" ] || return 0
  done
  cat "$work"/rounds.* | grep -q '^' || sed "s/\t$kind\t/\tunsteady\t/" "$work/round" >>"$work/figures"
}

# curves NAME SIZES BURSTS: the table of what bench/plot draws.
curves() {
  curve=$1 rows=
  for size in $2; do
    for burst in $3; do
      for row in split/descriptors packed/descriptors counted/descriptors control/spsc_two_way \
        control/spsc_one_way split/slot packed/slot split/lease packed/lease; do
        rows="$rows $row/size:$size/burst:$burst"
      done
    done
  done
  # Unquoted, as the rows are words.
  # shellcheck disable=SC2086
  table "$curve" 5 $rows
}

usual=size:256/burst:32
larger=size:1024/burst:32
for name in $tables; do
  case $name in
    descriptors)
      table descriptors 20 \
        split/descriptors/$usual packed/descriptors/$usual counted/descriptors/$usual \
        unchecked/split/descriptors/$usual unchecked/packed/descriptors/$usual \
        control/spsc_two_way/$usual control/spsc_two_way_8/$usual control/spsc_one_way/$usual \
        split/descriptors/$larger packed/descriptors/$larger control/spsc_two_way/$larger \
        ${ringtest:+ringtest} again/split/descriptors/$usual
      ;;
    frames)
      table frames 10 \
        split/slot/$usual packed/slot/$usual counted/slot/$usual \
        split/lease/$usual packed/lease/$usual counted/lease/$usual \
        split/slot/$usual/csum packed/slot/$usual/csum \
        split/lease/$usual/csum packed/lease/$usual/csum \
        unchecked/split/slot/$usual unchecked/packed/slot/$usual \
        control/memcpy/$usual again/split/slot/$usual
      ;;
    options)
      table options 10 \
        split/descriptors/$usual split/descriptors/$usual/event_idx split/descriptors/$usual/indirect \
        split/descriptors/$usual/tight split/descriptors/$usual/pages split/descriptors/$usual/huge \
        packed/descriptors/$usual packed/descriptors/$usual/event_idx packed/descriptors/$usual/indirect \
        packed/descriptors/$usual/tight packed/descriptors/$usual/pages packed/descriptors/$usual/huge \
        again/split/descriptors/$usual
      ;;
    burst) curves burst 1024 '1 2 4 8 16 32 64 128 256' ;;
    size) curves size '64 256 1024 4096' 32 ;;
  esac
done

jq -R -s --arg kernel "$(uname -sr)" --arg cpus "$cpus" \
  --arg model "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" '
  def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
  split("\n") | map(select(. != "") | split("\t") |
    {table: .[0], kind: .[1], row: .[2], ping: (.[3] | tonumber), rate: (.[4] | tonumber)})
  | {machine: {kernel: $kernel, cpu: $model, cpus: $cpus},
     tables: (group_by([.table, .kind]) | map({
       name: .[0].table, kind: .[0].kind, ping_ns: (map(.ping) | median),
       rows: (group_by(.row) | map({
         name: .[0].row, frames_per_s: map(.rate),
         median: (map(.rate) | median), min: (map(.rate) | min), max: (map(.rate) | max)}))}))}
  ' "$work/figures" >"$out"

# The tables of rows, in the order in which they were run; the curves are for bench/plot.
jq -r --rawfile order "$work/order" '
  def millions: . / 1e5 | round / 10;
  def range: "\(.median | millions) [\(.min | millions), \(.max | millions)]";
  ($order | split("\n")) as $order
  | "\(.machine.cpu), CPUs \(.machine.cpus), \(.machine.kernel)",
  (.tables[] | select(.name == "descriptors" or .name == "frames" or .name == "options")
   | (.rows[] | select(.name | startswith("again/")).frames_per_s) as $again
   | "", "\(.name), CPUs \(.kind): a line there and back \(.ping_ns) ns, \($again | length) rounds", "",
     "| row | million/s |", "|---|---|",
     (.rows | sort_by(.name as $name | $order | index($name))[]
      | "| \(.name) | \(range) |"))
  ' "$out"
[ ! -e "$work/skipped" ] || sort -u "$work/skipped" >&2
