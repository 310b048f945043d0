#!/usr/bin/env bash
# Builds the C programs of tests/c against the static library, under AddressSanitizer (leaks included) and UndefinedBehaviorSanitizer, and runs
# them.
set -euo pipefail
cd "$(dirname "$0")/.."

../tests/support/install.sh /usr/include/jansson.h=libjansson-dev

target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
cargo build --quiet --locked --package lameduck-ffi --features panic-injection
out=$target/ffi-tests
mkdir -p "$out"

# Nothing but the ABI leaves the shared library.
foreign=$(nm -D --defined-only "$target/debug/liblameduck.so" | awk '$3 !~ /^lameduck_/ { print $3 }')
[ -z "$foreign" ] || { echo "liblameduck.so exports what is not lameduck's: $foreign" >&2; exit 1; }

build() { # program flags…
  local program=$1
  shift
  ${CC:-cc} -std=gnu11 -O1 -g -Wall -Wextra -Werror -Iinclude "$@" "tests/c/$program.c" \
    -o "$out/$program" "$target/debug/liblameduck.a" -ljansson -lpthread -ldl -lm
}

sanitized=(-fsanitize=address,undefined -fno-sanitize-recover=all)
build vectors "${sanitized[@]}"
"$out/vectors" ../tests/vectors/*.json
build hosted "${sanitized[@]}"
"$out/hosted"
