# SPDX-License-Identifier: BSD-3-Clause
# What Doxygen reads of a header or a page, line for line; see Doxyfile.

# The inline namespace is no part of a name that a user writes.
s/^\(namespace vkring\)::inline v0\b/\1/

# The comment below the include guard says what the header is about.
/^#define VKRING_[A-Z0-9_]*_HPP$/ {
  n
  s|^$|/// @file|
  n
  :about
  s|^//$|///|
  s|^// |/// |
  n
  /^\/\// b about
}

# Members for the library's own derived classes.
s/^ protected:$/ private:/

# What is defaulted needs no words of its own, nor does a class with the real system calls.
s| = default;$|&  ///< Member by member.|
s|^using \([a-z_]*\) = basic_\1<>;$|&  ///< With the real system calls.|

# Links to what is no page of the site: the text of each is the path. LICENSE is copied.
s!\[\([^]]*\)\](\(\.\./\)\?\(examples\|bench\|tests\)/[^)]*)!\1!g
s|](LICENSE)|](./LICENSE)|
