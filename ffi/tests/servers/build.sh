#!/usr/bin/env bash
# Installs lameduck into the target folder, builds the examples in C and C++ against that, and prints the folder that has them in bin/.
# In without/ is a liblameduck.so.0 that does nothing: with it in LD_LIBRARY_PATH they are the same servers without lameduck.
set -euo pipefail
cd "$(dirname "$0")/../.."

../tests/support/install.sh cmake=cmake /usr/include/event2/http.h=libevent-dev /usr/include/http_parser.h=libhttp-parser-dev \
  /usr/include/microhttpd.h=libmicrohttpd-dev /usr/include/uv.h=libuv1-dev /usr/include/boost/beast.hpp=libboost-dev >&2

target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
cargo build --quiet --locked --package lameduck-ffi
out=$target/c-servers
BUILT=$target/debug PREFIX=$out/usr ./install.sh 2>"$out.log" || { cat "$out.log" >&2; exit 1; }
for language in c cpp; do
  { cmake -S "../examples/$language" -B "$out/$language" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_PREFIX_PATH="$out/usr" \
      -DCMAKE_RUNTIME_OUTPUT_DIRECTORY="$out/bin" && cmake --build "$out/$language" --parallel 2; } >"$out.log" 2>&1 \
    || { cat "$out.log" >&2; exit 1; }
done
mkdir -p "$out/without"
${CC:-cc} -std=gnu11 -Wall -Wextra -Werror -Iinclude -shared -fPIC -Wl,-soname,liblameduck.so.0 tests/servers/without.c \
  -o "$out/without/liblameduck.so.0"
echo "$out"
