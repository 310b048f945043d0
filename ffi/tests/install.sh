#!/usr/bin/env bash
# Installs into a temporary DESTDIR, builds a C program with pkg-config and a C++ program with CMake against that, and runs them.
set -euo pipefail
cd "$(dirname "$0")/.."

../tests/support/install.sh cmake=cmake pkg-config=pkg-config

target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
cargo build --quiet --locked --package lameduck-ffi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export BUILT=$target/debug DESTDIR=$out/dest

refused() { # what it must say, command …
  local says=$1 said
  shift
  if said=$("$@" 2>&1); then echo "not refused: $*" >&2; exit 1; fi
  grep -q -- "$says" <<<"$said" || { echo "refused, but not because of '$says': $said" >&2; exit 1; }
}
refused 'not absolute' env PREFIX=usr ./install.sh
refused 'run: make c' env BUILT="$out" ./install.sh
[ ! -e "$DESTDIR" ] || { echo "what was refused has installed something" >&2; exit 1; }

# As distributions do: libraries in a folder of the architecture, staged.
LIBDIR=/usr/lib/$(${CC:-cc} -print-multiarch)
PREFIX=/usr LIBDIR=$LIBDIR ./install.sh
lib=$DESTDIR$LIBDIR

config() { PKG_CONFIG_SYSROOT_DIR=$DESTDIR PKG_CONFIG_LIBDIR=$lib/pkgconfig pkg-config lameduck "$@"; }
read -ra compile <<<"$(config --cflags)"
read -ra shared <<<"$(config --libs)"
read -ra static <<<"$(config --libs --static)"
for kind in shared static; do
  linked=("${shared[@]}")
  [ $kind = shared ] || linked=("${static[@]/-llameduck/-l:liblameduck.a}")
  ${CC:-cc} -std=gnu11 -Wall -Wextra -Werror "${compile[@]}" tests/c/hosted.c -o "$out/$kind" "${linked[@]}"
done
# The names that were linked with are those that were installed.
readelf -d "$out/shared" | grep -q 'NEEDED.*\[liblameduck\.so\.0\]'
! readelf -d "$out/static" | grep -q liblameduck
LD_LIBRARY_PATH=$lib "$out/shared"
"$out/static"
printf '#include <lameduck.h>\n#include <stdio.h>\nint main(void) { puts(lameduck_version()); }\n' >"$out/version.c"
${CC:-cc} "${compile[@]}" "$out/version.c" -o "$out/version" "${shared[@]}"
[ "$(LD_LIBRARY_PATH=$lib "$out/version")" = "$(config --modversion)" ]

# It can be moved as a whole.
mv "$DESTDIR/usr" "$out/elsewhere"
cmake -S tests/cpp -B "$out/cpp" -DCMAKE_PREFIX_PATH="$out/elsewhere" >"$out/cmake.log" \
  || { cat "$out/cmake.log"; exit 1; }
cmake --build "$out/cpp" --parallel 2 >"$out/cmake.log" || { cat "$out/cmake.log"; exit 1; }
"$out/cpp/face-17"
"$out/cpp/face-20"
if command -v clang++ >/dev/null; then
  for standard in c++17 c++20; do
    clang++ -std=$standard -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$out/elsewhere/include" tests/cpp/face.cpp
  done
fi
echo "install: ok"
