#!/usr/bin/env bash
# What a request costs from C, as a table: ns by the threads' own clocks, instructions by callgrind.
set -euo pipefail
cd "$(dirname "$0")/.."
../tests/support/install.sh valgrind=valgrind

target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
cargo build --quiet --release --locked --package lameduck-ffi
ln -sf liblameduck.so "$target/release/liblameduck.so.0" # its soname
program=$target/ffi-bench
${CC:-cc} -std=gnu11 -O2 -Wall -Wextra -Werror -Iinclude bench/requests.c -o "$program" "$target/release/liblameduck.so" \
  -Wl,-rpath,"$target/release" -lpthread

# Instructions of so many pairs, and of the program around them.
instructions() { # way pairs
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 >/dev/null \
    | sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

echo '| per request | instructions | ns, 1 thread | 2 threads | 4 threads |'
echo '|---|---|---|---|---|'
"$program" 2>/dev/null | while read -r way one two four what; do
  few=$(instructions "$way" 10000)
  many=$(instructions "$way" 110000)
  echo "| $what | $(((many - few + 50000) / 100000)) | $one | $two | $four |"
done
