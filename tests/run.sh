#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The one test command: installs what is missing (Debian packages), builds, and runs every test.
#
#   tests/run.sh          what a change must pass; rings and headers on emulated s390x (big-endian) too
#   tests/run.sh --full   both compilers with every preset, libFuzzer, the tests that take long,
#                         mutations among them, and all that needs no network on emulated
#                         aarch64 and s390x
#
# Needs root, for packages, TAP interfaces and network namespaces. Ends with the minutes of each leg
# and a line `N passed, N failed, N skipped`, which counts ctest entries, legs that did not build,
# and skips: a skip that tests/expected-skips.txt does not foresee counts as failed.
# Exit status: 0 none failed, 1 some failed, 2 this machine or the command line is not fit.
set -u

packages='cmake ninja-build g++ clang libclang-rt-14-dev pkg-config
  libexpected-dev catch2 libbenchmark-dev libfmt-dev liburing-dev libdpdk-dev liblwip-dev
  systemtap-sdt-dev iproute2 ethtool iperf3 iputils-ping curl jq procps tcpdump valgrind doxygen python3-matplotlib
  qemu-system-x86 busybox-static cpio xz-utils g++-s390x-linux-gnu qemu-user'

full=false
case $#${1:-} in
  0) ;;
  1--full)
    full=true
    packages="$packages g++-aarch64-linux-gnu"
    ;;
  *)
    echo "tests/run.sh: \"$*\": only --full is known" >&2
    exit 2
    ;;
esac

cd "$(dirname "$0")/.." || exit 2

missing=
for package in $packages; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)
  [ "$status" = installed ] || missing="$missing $package"
done
if [ "$(id -u)" != 0 ]; then
  echo "tests/run.sh needs root: the tests make TAP interfaces and network namespaces" >&2
  [ -z "$missing" ] || echo "not installed (apt-get install):$missing" >&2
  exit 2
fi
if [ -n "$missing" ]; then
  echo "installing$missing"
  export DEBIAN_FRONTEND=noninteractive
  # Unquoted, as the packages are words.
  # shellcheck disable=SC2086
  if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; }; then
    echo "tests/run.sh: apt-get failed for:$missing" >&2
    exit 2
  fi
fi
if command -v ccache >/dev/null; then
  export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
fi

jobs=$(nproc)
results=$PWD/build/results
rm -rf "$results"
mkdir -p "$results"
# One line for each ctest entry or other outcome: LEG NAME.
: >"$results/passed"
: >"$results/failed"
: >"$results/skipped"
: >"$results/minutes"

# is_expected LEG "PROGRAM: CASE": true if tests/expected-skips.txt allows the skip there.
is_expected() {
  while read -r condition pattern; do
    case $condition in
      '' | '#'*) continue ;;
      always) ;;
      no:*) [ ! -e "${condition#no:}" ] || continue ;;
      leg:*) [ "${condition#leg:}" = "$1" ] || continue ;;
      zero:*) [ "$(cat "${condition#zero:}" 2>/dev/null)" = 0 ] || continue ;;
      *)
        echo "tests/expected-skips.txt: \"$condition\" is no condition" >&2
        continue
        ;;
    esac
    # Unquoted, as it is a pattern.
    # shellcheck disable=SC2254
    case $2 in
      $pattern) return 0 ;;
    esac
  done <tests/expected-skips.txt
  return 1
}

# skip LEG "PROGRAM: CASE" REASON
skip() {
  if is_expected "$1" "$2"; then
    echo "$1 $2: $3" >>"$results/skipped"
  else
    echo "$1 $2: skipped, which was not expected: $3" >>"$results/failed"
  fi
}

# Sorts the entries of one ctest run, from what it printed and what the programs wrote.
count() { # LEG CTEST_OUTPUT SKIP_LOG
  sed -n 's|^ *[0-9]*/[0-9]* *Test *#[0-9]*: \([^ ]*\) [. ]*\(.*[^ ]\) *[0-9.]* sec.*|\1 \2|p' "$2" |
    while read -r name outcome; do
      case $outcome in
        Passed*) echo "$1 $name" >>"$results/passed" ;;
        '***Skipped'*) grep -qs "^$name: " "$3" || skip "$1" "$name" "the whole program" ;;
        *) echo "$1 $name: $outcome" | sed 's/: \*\*\*/: /; s/\*\*\*/, /; s/:* *[0-9.]*$//' >>"$results/failed" ;;
      esac
    done
  [ ! -e "$3" ] || while IFS="$(printf '\t')" read -r what reason; do
    skip "$1" "$what" "$reason"
  done <"$3"
}

# leg NAME PRESET TARGETS CTEST_ARGUMENTS...
# TARGETS: what to build, nothing if `none`, what the build preset says if empty.
leg() {
  name=$1 preset=$2 targets=$3
  shift 3
  started=$(date +%s)
  echo "== $name"
  # Unquoted, as the targets are words.
  # shellcheck disable=SC2086
  if ! { cmake --preset "$preset" -Wno-dev >"$results/$name.configure" 2>&1 ||
    { cat "$results/$name.configure" && false; }; }; then
    echo "$name: not configured" >>"$results/failed"
  else
    [ "$targets" = none ] ||
      cmake --build --preset "$preset" ${targets:+--target $targets} -- -j "$jobs" -k 0 --quiet ||
      echo "$name: not all was built" >>"$results/failed"
    # ThreadSanitizer of these compilers knows no more than 28 random bits of addresses.
    fixed_addresses=
    case $preset in
      *tsan)
        [ "$(cat /proc/sys/vm/mmap_rnd_bits)" -le 28 ] || fixed_addresses='setarch -R'
        ;;
    esac
    rm -f "$results/$name.status"
    {
      VKRING_SKIP_LOG=$results/$name.skips \
        $fixed_addresses ctest --preset "$preset" -j "$jobs" "$@" </dev/null 2>&1
      echo $? >"$results/$name.status"
    } | tee "$results/$name.ctest"
    failed_before=$(wc -l <"$results/failed")
    count "$name" "$results/$name.ctest" "$results/$name.skips"
    # ctest also fails for what is no entry of its own: no test, no such label.
    if [ "$(cat "$results/$name.status")" != 0 ] &&
      [ "$(wc -l <"$results/failed")" = "$failed_before" ]; then
      echo "$name: ctest failed" >>"$results/failed"
    fi
  fi
  echo "$name $(($(date +%s) - started))" >>"$results/minutes"
}

if $full; then
  for compiler in gcc clang; do
    leg $compiler-release $compiler-release ''
    leg $compiler-asan-ubsan $compiler-asan-ubsan '' -LE '^consumer$'
    leg $compiler-tsan $compiler-tsan ''
    leg $compiler-no-exceptions $compiler-no-exceptions ''
  done
  leg clang-fuzz clang-fuzz ''
  for machine in aarch64 s390x; do
    leg $machine $machine-release '' -LE '^(stress|full)$'
  done
else
  leg gcc-release gcc-release '' -LE '^(consumer|full|vm)$'
  leg vm gcc-release none -L '^vm$'
  leg consumers gcc-release none -L '^consumer$'
  leg clang-asan-ubsan clang-asan-ubsan 'tests_unit tests_ring tests_model tests_fuzz' \
    -L '^(unit|ring|model|fuzz)$' -LE '^full$'
  leg gcc-tsan gcc-tsan '' -LE '^full$'
  # Every header is in it by unit_headers_together.
  leg gcc-no-exceptions gcc-no-exceptions 'tests_unit tests_ring tests_fuzz' -LE '^full$'
  leg s390x s390x-release 'tests_ring tests_fuzz unit_endian unit_header unit_checksum unit_segment' \
    -R '^(ring_|fuzz_|unit_(endian|header|checksum|segment)$)' -LE '^full$'
fi

echo
awk '{ printf "%-24s %5.1f minutes\n", $1, $2 / 60; all += $2 }
  END { printf "%-24s %5.1f minutes\n", "all", all / 60 }' "$results/minutes"
for outcome in skipped failed; do
  [ ! -s "$results/$outcome" ] || { echo && sed "s/^/$outcome: /" "$results/$outcome"; }
done
failed=$(wc -l <"$results/failed")
echo
echo "$(wc -l <"$results/passed") passed, $failed failed, $(wc -l <"$results/skipped") skipped"
[ "$failed" = 0 ]
