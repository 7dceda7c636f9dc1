#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# vkring-probe, in VKRING_PROGRAMS_DIR: a table, JSON, and bad usage.
set -u

probe=$VKRING_PROGRAMS_DIR/vkring-probe
table=$("$probe") || exit 1
echo "$table"
echo "$table" | grep -q '^backend worker  *works' || exit 1
"$probe" --json | jq -e '.backends.worker.usable and (.findings | length > 5) and
  ([.findings[] | select(.present == false) | .remedy != ""] | all)' >/dev/null || exit 1
error=$("$probe" --nonsense 2>&1 >/dev/null)
[ $? = 2 ] && [ "$error" = 'vkring-probe: --nonsense: only --json is known' ]
