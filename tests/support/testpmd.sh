# SPDX-License-Identifier: BSD-3-Clause
# What the tests of the DPDK driver share: DPDK's testpmd with the plugin, and what it says.
# shellcheck shell=sh
. "$VKRING_SOURCE_DIR/tests/support/fwd.sh"

plugin=$VKRING_PROGRAMS_DIR/dpdk_pmd/net_vkring.so
for each in "$plugin" "$(command -v dpdk-testpmd)"; do
  [ -e "$each" ] || {
    echo 'skipped: needs the plugin net_vkring and dpdk-testpmd' >&2
    exit 77
  }
done
grep -q __asan_init "$plugin" && {
  echo 'skipped: a plugin with a sanitizer needs an application that has it' >&2
  exit 77
}

# testpmd EAL_ARGUMENTS -- ARGUMENTS: on ordinary memory, with no device but those that are asked for.
testpmd() {
  # What it prints goes to a file, line by line.
  RUNTIME_DIRECTORY=$work stdbuf -oL dpdk-testpmd --no-huge -m 128 --no-pci --no-shconf \
    --no-telemetry --lcores '0@0,1@1' -d "$plugin" "$@"
}

# start_testpmd EAL_ARGUMENTS -- ARGUMENTS: in the background, taking what `tell` says.
start_testpmd() {
  rm -f "$work/in"
  mkfifo "$work/in"
  : >"$work/out" # what the one before this said would count
  testpmd "$@" -i --total-num-mbufs=8192 <"$work/in" >>"$work/out" 2>&1 &
  running=$!
  helpers="$helpers $running"
  exec 3>"$work/in"
  wait_for grep -q '^testpmd>' "$work/out" || failed "testpmd $* does not start"
}
# tell COMMAND...: each a line, and waits until it has been carried out.
tell() {
  for each in "$@"; do
    marks=$(grep -c 'end of tell' "$work/out")
    echo "$each" >&3
    # Testpmd says back what it does not know.
    echo 'end of tell' >&3
    wait_for more_marks || failed "no end of '$each'"
  done
}
more_marks() { [ "$(grep -c 'end of tell' "$work/out")" -gt "$marks" ]; }
# ask COMMAND: what testpmd answers.
ask() {
  lines=$(wc -l <"$work/out")
  tell "$1"
  tail -n "+$((lines + 1))" "$work/out"
}
# port_count PORT NAME: such as RX-packets.
port_count() { ask "show port stats $1" | sed -n "s/.*$2: *\([0-9]*\).*/\1/p" | head -n 1; }
stop_testpmd() {
  echo quit >&3
  exec 3>&-
  wait "$running"
  status=$?
  [ $status = 0 ] || failed "testpmd ended with $status"
}
