#!/usr/bin/env bash
# Fuzzes every target for FUZZ_SECONDS (60), as many at a time as there are processors, and prints how often each ran. What
# is found is kept below target/fuzz.
#
#   .ci/fuzz.sh [target ...]
#
# The dependencies are those of `cargo test`; only what is ours is built anew, so that it can be followed. No unsafe code is
# written here, and sanitisers would only slow it down.
set -euo pipefail
cd "$(dirname "$0")/.."
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(admission exposition objective quantity checkpoint)
.ci/tools.sh c++

faster=()
for crate in valence valence-webhook; do
    faster+=(--config "profile.dev.package.$crate.opt-level=1")
done
RUSTC_WORKSPACE_WRAPPER=$PWD/.ci/instrumented cargo build --workspace --locked --features valence-fuzz/libfuzzer \
    "${faster[@]}" "${targets[@]/#/--bin=}"

# Fuzzes $1.
fuzz() {
    local target=$1 status=passed found=target/fuzz/found/$1 crashes=target/fuzz/crashes/$1/ log=target/fuzz/$1.log
    local executions coverage
    mkdir -p "$found" "$crashes"
    "target/debug/$target" "$found" "tests/fuzz/corpus/$target" -max_total_time="$seconds" -print_final_stats=1 -timeout=10 \
        -rss_limit_mb=2048 -artifact_prefix="$crashes" >"$log" 2>&1 || status=CRASHED
    executions=$(awk '/stat::number_of_executed_units/ { print $2 }' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$log" | tail -1)
    printf '%-12s %-8s %12s executions in %s s, %s edges covered\n' "$target" "$status" "${executions:-?}" "$seconds" \
        "${coverage:-?}"
    [ "$status" = passed ] || { tail -40 "$log"; return 1; }
}
export -f fuzz
export seconds=${FUZZ_SECONDS:-60}
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I TARGET bash -c 'fuzz TARGET'
