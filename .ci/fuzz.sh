#!/usr/bin/env bash
# Fuzzes every target for FUZZ_SECONDS (60), as many at a time as there are processors, and prints how often each ran. What
# is found is kept below target/fuzz. With FUZZ_REPEATABLE=1 each target runs as often as it takes about twelve seconds to,
# from one seed and the corpus alone, so that the same code always passes or fails.
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

# How often $1 runs in about twelve seconds.
runs() {
    case $1 in
    admission) echo 50000 ;;
    exposition) echo 25000 ;;
    objective) echo 600000 ;;
    quantity) echo 2000000 ;;
    checkpoint) echo 2000000 ;;
    esac
}

# Fuzzes $1.
fuzz() {
    local target=$1 status=passed found=target/fuzz/found/$1 crashes=target/fuzz/crashes/$1/ log=target/fuzz/$1.log
    local executions coverage length=(-max_total_time="$seconds") began=$SECONDS
    if [ -n "${FUZZ_REPEATABLE:-}" ]; then
        found=$(mktemp -d) && length=(-seed=1 -runs="$(runs "$target")")
    fi
    mkdir -p "$found" "$crashes"
    "target/debug/$target" "$found" "tests/fuzz/corpus/$target" "${length[@]}" -print_final_stats=1 -timeout=10 \
        -rss_limit_mb=2048 -artifact_prefix="$crashes" >"$log" 2>&1 || status=CRASHED
    executions=$(awk '/stat::number_of_executed_units/ { print $2 }' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$log" | tail -1)
    printf '%-12s %-8s %12s executions in %s s, %s edges covered\n' "$target" "$status" "${executions:-?}" $((SECONDS - began)) \
        "${coverage:-?}"
    [ "$status" = passed ] || { tail -40 "$log"; return 1; }
}
export -f fuzz runs
export seconds=${FUZZ_SECONDS:-60}
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I TARGET bash -c 'fuzz TARGET'
