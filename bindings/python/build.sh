#!/usr/bin/env bash
# Builds the wheel into the folder of build products, under wheels/.
set -euo pipefail
cd "$(dirname "$0")"
target=$(realpath -m "${CARGO_TARGET_DIR:-../../target}")
venv=$target/python-build
maturin=maturin==1.16.0

if [ "$(cat "$venv/installed.txt" 2>/dev/null)" != "$maturin" ]; then
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$maturin"
  echo "$maturin" > "$venv/installed.txt"
fi
rm -rf "$target/wheels"
"$venv/bin/maturin" build --release --strip --locked --quiet --out "$target/wheels" --interpreter python3
