#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The site is made without a warning, no link in it leads nowhere, and what is not documented is found.
set -u

command -v doxygen >/dev/null || {
  echo 'skipped: needs doxygen' >&2
  exit 77
}
cd "$VKRING_SOURCE_DIR" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
export VKRING_VERSION=0 VKRING_SITE="$work/site"

failed() {
  echo "FAILED: $*" >&2
  exit 1
}

doxygen docs/site/Doxyfile 2>"$work/warnings" || failed "warnings: $(head -n 40 "$work/warnings")"
cd "$VKRING_SITE/html" || exit 1
for page in index md_docs_design md_CONTRIBUTING md_CHANGELOG classvkring_1_1basic__device \
  conceptvkring_1_1buffer__source structfmt_1_1formatter_3_01vkring_1_1error_01_4; do
  [ -e "$page.html" ] || failed "no $page.html"
done
grep -oh '\(href\|src\)="[^"#]*' ./*.html | sed 's/[^"]*"//' | sort -u | grep -v '^$\|^https\?:\|^javascript:' |
  while read -r target; do
    [ -e "$target" ] || echo "$target"
  done >"$work/nowhere"
[ ! -s "$work/nowhere" ] || failed "links lead nowhere: $(cat "$work/nowhere")"
! grep -n '[A-Za-z]\]([^ ]*)' index.html md_*.html || failed 'a link was not understood'
cd "$VKRING_SOURCE_DIR" || exit 1

# Each of these has to be found, by its name, and nothing else.
mkdir "$work/planted"
cat >"$work/planted/planted.hpp" <<'END'
#ifndef VKRING_PLANTED_HPP
#define VKRING_PLANTED_HPP

// What the test below looks at.

/// @namespace vkring
/// Has what is below.
namespace vkring::inline v0 {

/// A class.
class planted {
 public:
  planted() = default;
  int bare_member() const;
  int documented_member() const;  ///< has some words

 protected:
  int for_derived_classes();
};
/// A function. See `planted`.
void documented_function();
void bare_function();
struct bare_class {
  int documented;  ///< has some words
};

namespace detail {
void inner_function();
}

}  // namespace vkring::inline v0

#endif
END
{
  cat docs/site/Doxyfile
  printf '%s\n' "INPUT = $work/planted" 'USE_MDFILE_AS_MAINPAGE =' 'HTML_EXTRA_FILES ='
} | doxygen - 2>"$work/warnings" && failed 'what was planted was not found'
found=$(sed -n 's/.* \(Member\|Compound vkring::\) *\([a-z_]*\).* is not documented\.$/\2/p' "$work/warnings" |
  sort -u | tr '\n' ' ')
[ "$found" = 'bare_class bare_function bare_member ' ] || failed "found $found: $(cat "$work/warnings")"
