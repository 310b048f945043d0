#!/usr/bin/env bash
# Installs the wheel that build.sh made, with what the tests need, into a virtual environment, and prints where that is.
# PYTHON: another interpreter than python3.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
target=$(realpath -m "${CARGO_TARGET_DIR:-../../target}")
venv=$target/python-venv-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

if ! cmp --quiet tests/requirements.txt "$venv/requirements.txt"; then
  "$python" -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/requirements.txt
  cp tests/requirements.txt "$venv"
fi
# Not while it is there: another run may be using it.
if ! (cd "$target/wheels" && sha256sum *.whl) | cmp --quiet - "$venv/wheel.txt"; then
  "$venv/bin/pip" install --quiet --disable-pip-version-check --force-reinstall --no-deps --no-index "$target"/wheels/*.whl
  (cd "$target/wheels" && sha256sum *.whl) > "$venv/wheel.txt"
fi
echo "$venv"
