#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# How fast curl downloads 100 MB from the example program lwip: with lwIP's own interface for a TAP, which reads
# and writes frame by frame, and with this library's, leaving more and more to the kernel. In rounds, each
# second one backwards. Prints the median, the least and the most in MB/s, and the same of the ratio to the
# first row in the same round; the first row runs twice, as the ratio to itself says what a difference means.
#
#   bench/lwip.sh [ROUNDS]    7 unless told otherwise
#
# Takes the program from build/gcc-release, or VKRING_BUILD. Needs root and curl.
set -eu
cd "$(dirname "$0")/.."
program=${VKRING_BUILD:-build/gcc-release}/examples/lwip
rounds=${1:-7}
work=$(mktemp -d)
space=vkring-lwip-$$
server=
clean_up() {
  trap - EXIT HUP INT PIPE TERM
  [ -z "$server" ] || kill "$server" 2>/dev/null || :
  ip netns del "$space"
  rm -rf "$work"
}
ip netns add "$space"
trap clean_up EXIT
trap 'exit 1' HUP INT PIPE TERM
head -c 100000000 /dev/urandom >"$work/file"

# download ROW: once to warm up, and once to measure.
download() {
  case $1 in
    tapif | again) set -- "$1" --netif tapif ;;
    *) set -- "$1" --offloads "$1" ;;
  esac
  row=$1
  shift
  : >"$work/out"
  ip netns exec "$space" "$program" --file "$work/file" "$@" >"$work/out" 2>&1 &
  server=$!
  tries=100
  until grep -q 'is up' "$work/out" || [ $tries = 0 ]; do
    tries=$((tries - 1))
    sleep 0.1
  done
  for _ in warm measured; do
    speed=$(ip netns exec "$space" curl -sS -o /dev/null -w '%{speed_download}' http://10.7.0.2/)
  done
  kill -INT "$server"
  wait "$server"
  server=
  awk "BEGIN { print $speed / 1e6 }" >>"$work/$row.speed"
}
# The median, the least and the most of what is read.
range() { sort -g | awk -v f="$1" '{ x[NR] = $1 } END { printf f " [" f ", " f "]", x[int((NR + 1) / 2)], x[1], x[NR] }'; }

round=0
while [ $round -lt "$rounds" ]; do
  order='tapif none csum tso again'
  [ $((round % 2)) = 0 ] || order='again tso csum none tapif'
  for row in $order; do download "$row"; done
  round=$((round + 1))
done
echo "$(uname -sr), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs"
for row in tapif none csum tso again; do
  printf '%-6s %s MB/s   to tapif %s\n' "$row" "$(range %.0f <"$work/$row.speed")" \
    "$(paste "$work/$row.speed" "$work/tapif.speed" | awk '{ print $1 / $2 }' | range %.2f)"
done
