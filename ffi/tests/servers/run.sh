#!/usr/bin/env bash
# Restarts each server of examples/c and examples/cpp under load, twice; no request may fail. `--without`: without lameduck, where requests
# must fail. Behind nginx and HAProxy: node tests/rolling/run.mjs --server epoll.
set -euo pipefail
cd "$(dirname "$0")/../../.."

servers=$(ffi/tests/servers/build.sh)
cargo build --quiet --locked --package lameduck-cli
drill=${servers%/*}/debug/lameduck
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export LAMEDUCK_GRACE=10 LAMEDUCK_WINDOW=1
expected=0
if [ "${1:-}" = --without ]; then
  export LD_LIBRARY_PATH=$servers/without
  expected=1
fi

# Two at a time: with one core each, none waits for the other.
restart() { # server
  local code=0
  "$drill" drill --restarts 2 --rate 300 --pause 200ms -- "$servers/bin/$1" >"$logs/$1" 2>&1 || code=$?
  echo "$1: $(tail -1 "$logs/$1")"
  [ $code = $expected ] || { cat "$logs/$1" >&2; return 1; }
}
export -f restart
export drill servers logs expected
printf '%s\n' epoll evhttp microhttpd uv beast | xargs -P 2 -I {} bash -c 'restart {}'
