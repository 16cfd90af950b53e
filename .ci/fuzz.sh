#!/usr/bin/env bash
# Fuzzes every target for FUZZ_SECONDS (60) and prints how often each ran. What is found is kept below target/fuzz.
#
#   .ci/fuzz.sh [target ...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(admission exposition objective quantity checkpoint)
cargo +nightly fuzz --version >/dev/null 2>&1 || {
    echo "fuzzing needs a nightly compiler and cargo-fuzz: rustup toolchain install nightly && cargo install cargo-fuzz" >&2
    exit 1
}
where=(--fuzz-dir tests/fuzz --target-dir target/fuzz)
# The versions that the operator is built with.
cp Cargo.lock tests/fuzz/Cargo.lock
cargo +nightly fuzz build "${where[@]}"
failed=0
for target in "${targets[@]}"; do
    found=target/fuzz/found/$target
    crashes=target/fuzz/crashes/$target/
    mkdir -p "$found" "$crashes"
    log=target/fuzz/$target.log
    status=passed
    cargo +nightly fuzz run "${where[@]}" "$target" "$found" "tests/fuzz/corpus/$target" -- -max_total_time="$seconds" \
        -print_final_stats=1 -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$crashes" >"$log" 2>&1 || status=CRASHED
    executions=$(awk '/stat::number_of_executed_units/ { print $2 }' "$log")
    printf '%-12s %-8s %12s executions in %s s\n' "$target" "$status" "${executions:-?}" "$seconds"
    [ "$status" = passed ] || { tail -40 "$log"; failed=1; }
done
exit $failed
