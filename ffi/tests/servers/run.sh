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

# A body that never comes whole must not keep it past T, which is 1.8 s after the signal. evhttp shows a request when its body is whole:
# to it the connection is an idle one.
hold_up() { # server port code
  local code=0 began
  PORT=$2 LAMEDUCK_GRACE=2 LAMEDUCK_WINDOW=0.2 "$servers/bin/$1" >"$logs/$1" 2>&1 &
  for ((tries = 0; tries < 100; tries++)); do
    (: <>"/dev/tcp/127.0.0.1/$2") 2>/dev/null && break || sleep 0.1
  done
  exec 3<>"/dev/tcp/127.0.0.1/$2"
  printf 'POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf' >&3
  sleep 0.3 # nobody says that it has been read
  began=${EPOCHREALTIME/[.,]/}
  kill $!
  wait $! || code=$?
  local took=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
  exec 3>&-
  echo "$1, held up: ended with $code after $took ms"
  [ $code = "$3" ] && [ $took -ge 1000 ] && [ $took -le 2300 ] || { cat "$logs/$1" >&2; return 1; }
}

all=(epoll evhttp microhttpd uv beast)
export -f restart
export drill servers logs expected
printf '%s\n' "${all[@]}" | xargs -P 2 -I {} bash -c 'restart {}'
[ $expected = 0 ] || exit 0
port=$((20000 + $$ % 10000))
for server in "${all[@]}"; do
  code=1
  [ "$server" != evhttp ] || code=0
  hold_up "$server" $((port++)) $code
done
