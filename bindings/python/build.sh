#!/usr/bin/env bash
# Builds wheels into the folder of build products, under wheels/:
#   build.sh               for this machine, with its glibc
#   build.sh TARGET…       as PyPI publishes them, for these of Rust's targets: zig links for glibc 2.17 (manylinux2014) or musl
#   build.sh sdist         the source distribution, from which `pip` builds a wheel where there is Rust
# The last two leave what is there. A wheel holds the command, too: pyproject.toml includes it; for a target it is static.
# A wheel serves every CPython from 3.10 on but the free-threaded ones; PYTHON=python3.14t makes one for that one.
set -euo pipefail
cd "$(dirname "$0")"
target=$(realpath -m "${CARGO_TARGET_DIR:-../../target}")
venv=$target/python-build
tools='maturin==1.16.0'

for wanted in "$@"; do
  [ "$wanted" = sdist ] || tools='maturin==1.16.0 ziglang==0.15.2 cargo-zigbuild==0.24.0'
done
if [ "$(cat "$venv/installed.txt" 2>/dev/null)" != "$tools" ]; then
  python3 -m venv --clear "$venv"
  # shellcheck disable=SC2086
  "$venv/bin/pip" install --quiet --disable-pip-version-check $tools
  echo "$tools" > "$venv/installed.txt"
fi

command=(--release --locked --quiet --package lameduck-cli)
build=("$venv/bin/maturin" build --release --strip --locked --quiet --out "$target/wheels" --interpreter "${PYTHON:-python3}")
if [ $# = 0 ]; then
  cargo build "${command[@]}"
  cp "$target/release/lameduck" lameduck/_command
  rm -rf "$target/wheels"
  exec "${build[@]}"
fi
for wanted in "$@"; do
  case $wanted in
    *-linux-*)
      alone=${wanted/%-gnu/-musl}
      PATH=$venv/bin:$PATH cargo zigbuild "${command[@]}" --target "$alone"
      cp "$target/$alone/release/lameduck" lameduck/_command
      ;;
  esac
  case $wanted in
    sdist) "$venv/bin/maturin" sdist --out "$target/wheels" ;;
    *-linux-gnu) PATH=$venv/bin:$PATH "${build[@]}" --zig --target "$wanted" --compatibility manylinux2014 ;;
    *-linux-musl) PATH=$venv/bin:$PATH "${build[@]}" --zig --target "$wanted" --compatibility musllinux_1_2 ;;
    *) echo "build: there are no wheels for $wanted; the extension is for Linux" >&2; exit 2 ;;
  esac
done
