#!/usr/bin/env bash
# Fuzzes each target for so many seconds (`make fuzz`): run.sh SECONDS [TARGET...]. It begins with the
# committed corpora and leaves them alone; what it adds and what it finds is in target/fuzz/.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?how many seconds for each target}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(operations environment vector)
command -v cargo-fuzz >/dev/null || { echo "the fuzzers need cargo-fuzz: cargo install cargo-fuzz --locked" >&2; exit 2; }

export RUSTC_BOOTSTRAP=1 # the coverage that libFuzzer asks for is not stable yet
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for target in "${targets[@]}"; do
  found=target/fuzz/$target/found/
  corpus=target/fuzz/$target/corpus
  mkdir -p "$found" "$corpus"
  # Vectors are themselves the first inputs of their target.
  seeds=("fuzz/corpus/$target")
  [ "$target" != vector ] || seeds+=(tests/vectors)
  longest=1000
  [ "$target" != vector ] || longest=16000
  cargo fuzz run --features libfuzzer -s none "$target" "$PWD/$corpus" "${seeds[@]/#/$PWD/}" -- \
    -max_total_time="$seconds" -max_len="$longest" -artifact_prefix="$PWD/$found" \
    -print_final_stats=1 > "$log" 2>&1 \
    || { grep -A 5 panicked "$log" || tail -n 20 "$log"; echo "$target: a finding is in $found" >&2; exit 1; }
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  echo "$target: $runs executions in $seconds s, $edges edges, nothing found"
done
