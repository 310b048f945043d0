#!/usr/bin/env bash
# Shows that the model check can fail: weakens one ordering of src/row.rs after the other, in a copy, and
# expects loom to find an order of events that the weaker one lets through.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
copy=$target/weakened
export CARGO_TARGET_DIR=$target/loom CARGO_PROFILE_RELEASE_LTO=off RUSTFLAGS='--cfg loom'

rm -rf "$copy" && mkdir -p "$copy"
(cd "$root" && git ls-files -z --cached -- . ':!fuzz' | tar --null -T - -c) | tar -x -C "$copy"
row=$copy/core/src/row.rs

# What stands there, and what is to stand there instead. A fence cannot be relaxed; for the one there is, `Release`
# has no effect at all.
weaker=(
  'CHANGE Release Relaxed'
  'OPEN Release Relaxed'
  'HAND_OVER AcqRel Acquire'
  'HAND_OVER AcqRel Release'
  'FOUND_CLOSED Acquire Relaxed'
  'AFTER_HANDED Acquire Release'
)
named=$(grep -c '^const [A-Z_]*: Ordering = ' "$row")
tried=$(printf '%s\n' "${weaker[@]}" | cut -d' ' -f1 | sort -u | wc -l)
[ "$named" -eq "$tried" ] || { echo "row.rs names $named orderings, this script weakens $tried" >&2; exit 1; }

for one in "${weaker[@]}"; do
  read -r name strong weak <<< "$one"
  cp "$root/core/src/row.rs" "$row"
  sed -i "s/^const $name: Ordering = Ordering::$strong;/const $name: Ordering = Ordering::$weak;/" "$row"
  if cmp -s "$root/core/src/row.rs" "$row"; then
    echo "$name is not $strong any more; tell this script" >&2; exit 1
  fi
  if (cd "$copy" && cargo test --quiet --release --locked -p lameduck --lib row::model) > "$copy/log" 2>&1; then
    echo "$name = $weak instead of $strong: loom found nothing" >&2; exit 1
  fi
  found=$(sed -n 's/^---- row::model::\(.*\) stdout ----$/\1/p' "$copy/log" | paste -sd' ')
  [ -n "$found" ] || { cat "$copy/log" >&2; echo "$name = $weak did not build" >&2; exit 1; }
  echo "$name = $weak instead of $strong is found by $found"
done
