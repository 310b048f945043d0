#!/usr/bin/env bash
# Installs headers, libraries, pkg-config file and CMake package, as `make install` does:
#   [DESTDIR=/staging] [PREFIX=/usr/local] [LIBDIR=$PREFIX/lib] [INCLUDEDIR=$PREFIX/include] [BUILT=target/release] ffi/install.sh
# Builds nothing: the libraries must be in BUILT (`make c`).
set -euo pipefail
cd "$(dirname "$0")"

prefix=${PREFIX:-/usr/local}
lib=${LIBDIR:-$prefix/lib}
include=${INCLUDEDIR:-$prefix/include}
for folder in "$prefix" "$lib" "$include"; do
  [[ $folder == /* ]] || { echo "install: $folder is not absolute: PREFIX, LIBDIR and INCLUDEDIR must begin with /" >&2; exit 2; }
done
[[ $(uname -s) == Linux ]] || echo "install: tried on Linux only" >&2

built=${BUILT:-${CARGO_TARGET_DIR:-../target}/release}
version=$(sed -n 's/^#define LAMEDUCK_VERSION_\(MAJOR\|MINOR\|PATCH\) //p' include/lameduck.h | paste -sd.)
soname=liblameduck.so.$(sed -n 's/.*const ABI: &str = "\(.*\)";/\1/p' build.rs)
for file in liblameduck.so liblameduck.a; do
  [ -f "$built/$file" ] || { echo "install: $built/$file is missing; run: make c" >&2; exit 2; }
done

to=${DESTDIR:-}
install -d "$to$include" "$to$lib/pkgconfig" "$to$lib/cmake/lameduck"
install -m 644 include/lameduck.h include/lameduck.hpp include/lameduck_inline.h "$to$include"
install -m 755 "$built/liblameduck.so" "$to$lib/liblameduck.so.$version"
ln -sf "liblameduck.so.$version" "$to$lib/$soname"
ln -sf "$soname" "$to$lib/liblameduck.so"
install -m 644 "$built/liblameduck.a" "$to$lib"

# What Rust's standard library needs of the system (rustc --print native-static-libs).
private=(-lgcc_s -lutil -lrt -lpthread -lm -ldl)
fill() { # template to
  sed -e "s|@PREFIX@|$prefix|g" -e "s|@LIBDIR@|$lib|g" -e "s|@INCLUDEDIR@|$include|g" -e "s|@VERSION@|$version|g" -e "s|@SONAME@|$soname|g" \
    -e "s|@INCLUDE_FROM_HERE@|$(realpath -sm --relative-to "$lib/cmake/lameduck" "$include")|g" -e "s|@POINTER@|$pointer|g" \
    -e "s|@PRIVATE@|$2|g" "package/$1.in" >"$3/$1"
  chmod 644 "$3/$1"
}
# The fifth byte of an ELF file is 2 when a pointer has 8 bytes.
pointer=$(( $(od -An -tu1 -j4 -N1 "$built/liblameduck.so") * 4 ))
fill lameduck.pc "${private[*]}" "$to$lib/pkgconfig"
cmake=$(IFS=';'; echo "${private[*]}")
fill lameduck-config.cmake "$cmake" "$to$lib/cmake/lameduck"
fill lameduck-config-version.cmake "" "$to$lib/cmake/lameduck"
echo "installed lameduck $version in $to$prefix" >&2
