#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The shortest run of bench/vm/run prints a table of the shape that it promises. What the figures are is
# no matter here.
set -eu

status=0
output=$(bench/vm/run --no-dpdk --rounds 1 --seconds 1 txonly) || status=$?
printf '%s\n' "$output"
[ $status = 0 ] || exit $status
printf '%s\n' "$output" | awk -F ' *[|] *' '
  function wrong(why) { print "bench/vm/run: " why ": " $0; bad = 1; exit 1 }
  BEGIN { cell = "^[0-9]+(\\.[0-9]+)? \\[[0-9]+(\\.[0-9]+)?, [0-9]+(\\.[0-9]+)?\\]$" }
  # The kernel may have a word before that, and a machine that the emulator lost begins again.
  /^Linux [0-9].*, [0-9]+ CPUs, emulated, 1 rounds of 1 s$/ { begun = 1; rows = 0 }
  !begun || !/^[|]/ { next }
  { rows++ }
  rows == 1 && $3 != "frames/s" { wrong("not the headings") }
  rows == 1 { columns = NF }
  NF != columns { wrong("another number of cells") }
  rows == 2 && !/^[-|]+$/ { wrong("not the line below the headings") }
  rows > 2 {
    last = $2
    for (i = 3; i < NF; i++) if ($i !~ cell) wrong("not a median, a least and a most")
    if ($3 + 0 == 0) wrong("no frames")
  }
  END {
    if (!bad && !begun) wrong("does not say where it ran")
    if (!bad && (rows != 5 || last != "the first row again")) wrong("not the rows of txonly")
    exit bad
  }'
