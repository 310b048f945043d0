#!/usr/bin/env bash
# Runs pytest with the arguments given, against the wheel. PYTHON: another interpreter than python3.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$(tests/venv.sh)
exec "$venv/bin/pytest" --quiet "$@"
