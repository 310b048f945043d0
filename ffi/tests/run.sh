#!/usr/bin/env bash
# Builds the C programs of tests/c against the static library, under AddressSanitizer (leaks included) and UndefinedBehaviorSanitizer, and runs
# them; the fuzzer also under valgrind's memcheck and helgrind. FUZZ_ROUNDS=20 fuzzes for so much longer.
set -euo pipefail
cd "$(dirname "$0")/.."

../tests/support/install.sh /usr/include/jansson.h=libjansson-dev valgrind=valgrind

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

# The same against the shared library, so that valgrind can tell its code from the program's. It is looked for by its soname.
ln -sf liblameduck.so "$target/debug/liblameduck.so.0"
shared() {
  ${CC:-cc} -std=gnu11 -O1 -g -Wall -Wextra -Werror -Iinclude "tests/c/$1.c" -o "$out/$1" "$target/debug/liblameduck.so" \
    -Wl,-rpath,"$target/debug" -lpthread
}

sanitized=(-fsanitize=address,undefined -fno-sanitize-recover=all)
for program in bad drain fuzz held hosted vectors; do build "$program" "${sanitized[@]}"; done
"$out/vectors" ../tests/vectors/*.json
"$out/bad" 2>"$out/bad.log" || { cat "$out/bad.log" >&2; exit 1; } # the panics that it injects print themselves
"$out/hosted" 2>"$out/hosted.log" || { cat "$out/hosted.log" >&2; exit 1; } # so does a server without a log of its own
"$out/held"
build forked
"$out/forked" 2>"$out/forked.log" || { cat "$out/forked.log" >&2; exit 1; } # it prints log lines
"$out/drain"

# Every function that the library exports is fuzzed.
for function in $(nm -D --defined-only "$target/debug/liblameduck.so" | awk '{ print $3 }' | grep -v '^lameduck_test_'); do
  grep -qw "$function" tests/c/fuzz.c include/lameduck_inline.h || { echo "tests/c/fuzz.c does not try $function" >&2; exit 1; }
done

# Operations of each of 4 threads; under valgrind, which is slow, of each of 3. FUZZ_ROUNDS seeds each.
fuzz() { # rounds command…
  local seed
  for ((seed = 1; seed <= $1; seed++)); do "${@:2}" "$seed" "$operations" "$threads" >"$out/fuzz.log" 2>&1 || { cat "$out/fuzz.log" >&2; exit 1; }; done
  tail -1 "$out/fuzz.log"
}
rounds=${FUZZ_ROUNDS:-1}
operations=30000 threads=4
fuzz $((rounds * 3)) "$out/fuzz"
operations=1500 threads=3
build fuzz
# What is possibly lost is std's handle of the main thread, to which it keeps a pointer into the middle.
leaks=(--leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect)
fuzz "$rounds" valgrind -q --error-exitcode=9 "${leaks[@]}" "$out/fuzz"
build vectors
valgrind -q --error-exitcode=9 "${leaks[@]}" "$out/vectors" ../tests/vectors/*.json
helgrind=(valgrind -q --tool=helgrind --error-exitcode=9 --suppressions=tests/helgrind.supp)
for program in drain fuzz; do shared "$program"; done
"${helgrind[@]}" "$out/drain"
fuzz "$rounds" "${helgrind[@]}" "$out/fuzz"
