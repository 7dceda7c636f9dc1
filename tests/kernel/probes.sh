#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A program with a device, tap_ping in VKRING_PROGRAMS_DIR, has the probes that docs/embedding.md lists, with
# as many arguments.
set -u

[ -e "/usr/include/$(uname -m)-linux-gnu/sys/sdt.h" ] || [ -e /usr/include/sys/sdt.h ] || {
  echo 'skipped: there is no sys/sdt.h (Debian: systemtap-sdt-dev)' >&2
  exit 77
}
# NAME ARGUMENTS, in which one is SIZE@PLACE.
found=$(LC_ALL=C readelf --notes --wide "$VKRING_PROGRAMS_DIR/tap_ping" |
  awk '/Provider:/ { ours = $NF == "vkring" } $1 == "Name:" { name = $2 }
    $1 == "Arguments:" && ours { print name, gsub(/-?[0-9]@/, "") }' | sort -u)
echo "$found"
[ "$found" = "broken 4
call 1
drop 2
kick 1" ]
