#!/usr/bin/env bash
# Installs the wheel that build.sh made, with what the tests need, into a virtual environment, and prints where that is.
# PYTHON: another interpreter than python3.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
target=$(realpath -m "${CARGO_TARGET_DIR:-../../target}")
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
venv=$target/python-venv-$version
case $version in
  # There are no wheels of these for the free-threaded ones.
  *t) requirements=$(sed -e '/^grpcio/d' -e 's/binary,//' tests/requirements.txt) ;;
  *) requirements=$(cat tests/requirements.txt) ;;
esac

if [ "$(cat "$venv/requirements.txt" 2>/dev/null)" != "$requirements" ]; then
  "$python" -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement /dev/stdin <<< "$requirements"
  echo "$requirements" > "$venv/requirements.txt"
fi
# Not while it is there: another run may be using it.
if ! (cd "$target/wheels" && sha256sum *.whl) | cmp --quiet - "$venv/wheel.txt"; then
  "$venv/bin/pip" install --quiet --disable-pip-version-check --force-reinstall --no-deps --no-index --find-links "$target/wheels" lameduck
  (cd "$target/wheels" && sha256sum *.whl) > "$venv/wheel.txt"
fi
echo "$venv"
