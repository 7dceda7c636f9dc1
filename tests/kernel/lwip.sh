#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# A file goes to and from a web server on lwIP, the example program lwip in VKRING_PROGRAMS_DIR, through tap0:
# with lwIP's checksums, with those of the kernel, and with packets of TCP put together.
. "$VKRING_SOURCE_DIR/tests/support/fwd.sh"

lwip=$VKRING_PROGRAMS_DIR/lwip
megabytes=${VKRING_LWIP_MEGABYTES:-100}

for each in "$lwip" curl; do
  command -v "$each" >/dev/null || {
    echo "skipped: there is no $each" >&2
    exit 77
  }
done

usage() { # TEXT OPTION...
  expected=$1
  shift
  "$lwip" "$@" >"$work/out" 2>"$work/err"
  same "lwip $*" "$? $(cat "$work/err")" "2 $expected"
}
usage '--file: needed: what to serve'
usage '--offloads all: none, csum or tso' --file x --offloads all
usage '--backend: needs a value' --file x --backend
usage '--offloads csum: not with --netif tapif' --file x --netif tapif --offloads csum
usage '--offloads csum: not with --netif tapif' --file x --offloads csum --netif tapif
usage '--port: not known: see --help' --port 80

make_netns stack
head -c $((megabytes * 1048576)) /dev/urandom >"$work/file" || failed 'no room for the file'
bytes=$(wc -c <"$work/file")

# transfer STATUS CURL_ARGUMENT...: only no sign of life for a minute is too slow.
transfer() {
  expected=$1
  shift
  same "curl $*" "$(at stack curl -sS --speed-time 60 --speed-limit 1 -o "$work/got" -w '%{http_code}' \
    "$@" http://10.7.0.2/ 2>>"$work/err")" "$expected"
}

# serve VERIFIED FRAMES OPTION...: how many of the received frames lwIP verified, and how many frames there
# were for the packets that it sent, as conditions on $received, $verified and $sent.
serve() {
  conditions=$1
  shift
  echo "lwip $*"
  # A file of this turn: else the last one's would do.
  : >"$work/out"
  ip netns exec "stack-$$" "$lwip" --file "$work/file" "$@" >"$work/out" 2>"$work/err" &
  running=$!
  helpers="$helpers $running"
  wait_for grep -q 'is up' "$work/out" || failed 'tap0 does not come up'
  at stack ping -q -c 3 -i 0.2 10.7.0.2 >"$work/ping" || failed 'no answer to ping'

  transfer 200
  cmp "$work/file" "$work/got" || failed 'another file came'
  transfer 200 --header Expect: --upload-file "$work/file"
  printf 'something else' >"$work/other"
  transfer 409 --header Expect: --upload-file "$work/other"

  kill -INT "$running"
  wait "$running" || failed "lwip ended with $?"
  cat "$work/out"
  same 'not lost, not copied' "$(sed -n 3p "$work/out")" 'copied 0 packets; dropped 0; refused 0'
  received=$(sed -n 's/received \([0-9]*\) .*/\1/p' "$work/out")
  verified=$(sed -n 's/.*lwIP verified \([0-9]*\);.*/\1/p' "$work/out")
  sent=$(sed -n 's/.*; sent \([0-9]*\) frames.*/\1/p' "$work/out")
  sh -c "$conditions" conditions "$received" "$verified" "$sent" || failed "not so: $conditions"
}
packets=$((bytes / 1460))
# What the kernel does not vouch for is ARP and ICMP.
serve "[ \$2 = \$1 ] && [ \$3 -ge $packets ]" --offloads none
serve "[ \$2 -le 50 ] && [ \$3 -ge $packets ]" --offloads csum
# An acknowledgement for each second packet of the upload is a packet, too.
serve "[ \$2 -le 50 ] && [ \$3 -lt $((packets + packets / 2)) ]" --offloads tso
