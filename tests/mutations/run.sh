#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Tests of the tests: breaks one thing in a copy of the headers, and the test that list.txt names
# for it has to fail.
#
#   tests/mutations/run.sh           every mutation of the list
#   tests/mutations/run.sh NAME...   these
#
# CXX and CC are the compilers (c++ and cc if not set), VKRING_TESTS_MAIN the object file of
# tests/main.cpp, which is compiled if it is not set. Exit status: 0 all were caught; 1 one survived,
# does not apply exactly once or does not compile; 2 nothing could be run.
set -u

cd "$(dirname "$0")/../.." || exit 2
list=tests/mutations/list.txt
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 2' INT TERM

# field NAME KEY: what the list says of a mutation.
field() {
  awk -v name="$1" -v key="$2" '
    $1 == "mutation" { here = $2 == name }
    here && $1 == key { print substr($0, length(key) + 2); exit }' "$list"
}

# apply HEADER OLD NEW: puts the mutated header into the copy. False if OLD is not there just once.
apply() {
  old=$2 new=$3 awk '
    BEGIN { old = ENVIRON["old"]; new = ENVIRON["new"] }
    {
      line = $0
      while ((at = index(line, old)) != 0) {
        printf "%s%s", substr(line, 1, at - 1), new
        line = substr(line, at + length(old))
        ++found
      }
      print line
    }
    END { exit found != 1 }' "include/vkring/$1" >"$work/include/vkring/$1"
}

compile() {
  "${CXX:-c++}" -std=c++20 -O1 -w -I"$work/include" -Itests -DCATCH_CONFIG_FAST_COMPILE \
    -DVKRING_SOURCE_DIR="\"$PWD\"" "$@"
}

# build PROGRAM: makes the test program from the mutated headers.
build() {
  case $1 in
    fuzz/*) compile "tests/$1" tests/fuzz/support/replay_main.cpp -o "$work/test" && return ;;
  esac
  main=${VKRING_TESTS_MAIN:-$work/main.o}
  [ -e "$main" ] || compile -c tests/main.cpp -o "$main" || return
  # What stands in C beside it.
  set -- "tests/$1" "$main"
  c=${1%.cpp}.c
  if [ -e "$c" ]; then
    "${CC:-cc}" -c "$c" -o "$work/c.o" || return
    set -- "$@" "$work/c.o"
  fi
  compile "$@" -o "$work/test"
}

# The cases of the built program that have this name, alone or with a layout behind it.
selector() {
  escaped=$(printf '%s' "$1" | sed 's/,/\\,/g')
  printf '%s,%s - *' "$escaped" "$escaped"
}

# notices PROGRAM CASE: whether the built program fails. A test that hangs does.
notices() {
  case $1 in
    fuzz/*)
      corpus=tests/fuzz/corpus/$(basename "$1" .cpp)
      ! timeout 200 "$work/test" "$corpus" >"$work/output" 2>&1
      ;;
    *) ! timeout 200 "$work/test" "$(selector "$2")" >"$work/output" 2>&1 ;;
  esac
}

# has_case PROGRAM CASE: whether the built program has that case; without it, it would fail as well.
has_case() {
  case $1 in
    fuzz/*) return 0 ;;
  esac
  [ -n "$("$work/test" --list-test-names-only "$(selector "$2")")" ]
}

# judge NAME: prints what became of a mutation, and is true if it was caught.
judge() {
  header=$(field "$1" header)
  program=$(field "$1" program)
  case=$(field "$1" case)
  rm -rf "$work/include" "$work/test"
  cp -R include "$work/include" || exit 2
  if [ -z "$header" ]; then
    echo "$1: not in the list"
  elif ! apply "$header" "$(field "$1" -)" "$(field "$1" +)"; then
    echo "$1: does not apply exactly once"
  elif ! build "$program" >"$work/output" 2>&1; then
    cat "$work/output"
    echo "$1: does not compile"
  elif ! has_case "$program" "$case"; then
    echo "$1: $program has no case \"$case\""
  elif ! notices "$program" "$case"; then
    echo "$1: SURVIVED $program \"$case\""
  else
    echo "$1: caught"
    return 0
  fi
  return 1
}

# Unquoted, as the names are words.
# shellcheck disable=SC2046
[ $# != 0 ] || set -- $(awk '$1 == "mutation" { print $2 }' "$list")
[ $# != 0 ] || exit 2
status=0
for name; do
  judge "$name" || status=1
done
exit "$status"
