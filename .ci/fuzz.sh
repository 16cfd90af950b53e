#!/usr/bin/env bash
# Fuzzes every target for FUZZ_SECONDS (60) and prints how often each ran. What is found is kept below target/fuzz.
#
#   .ci/fuzz.sh [target ...]
#
# libFuzzer needs what is no part of stable Rust: the compiler that is there is told to allow it (RUSTC_BOOTSTRAP=1), for
# this build alone and in a target folder of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(admission exposition objective quantity checkpoint)
command -v c++ >/dev/null || { echo "fuzzing needs a C++ compiler, to build libFuzzer: apt-get install g++" >&2; exit 1; }
.ci/tools.sh cargo-fuzz
export PATH=$PWD/.tools/bin:$PATH
export RUSTC_BOOTSTRAP=1
# No unsafe code is written here, so that the sanitisers would only slow it down.
options=(--fuzz-dir . --target-dir ../../target/fuzz --sanitizer none)
# The versions that the operator is built with.
cp Cargo.lock tests/fuzz/Cargo.lock
(cd tests/fuzz && cargo fuzz build "${options[@]}")
failed=0
for target in "${targets[@]}"; do
    found=$PWD/target/fuzz/found/$target
    crashes=$PWD/target/fuzz/crashes/$target/
    mkdir -p "$found" "$crashes"
    log=target/fuzz/$target.log
    status=passed
    (cd tests/fuzz && cargo fuzz run "${options[@]}" "$target" "$found" "corpus/$target" -- -max_total_time="$seconds" \
        -print_final_stats=1 -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$crashes") >"$log" 2>&1 || status=CRASHED
    executions=$(awk '/stat::number_of_executed_units/ { print $2 }' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$log" | tail -1)
    printf '%-12s %-8s %12s executions in %s s, %s edges covered\n' "$target" "$status" "${executions:-?}" "$seconds" "${coverage:-?}"
    [ "$status" = passed ] || { tail -40 "$log"; failed=1; }
done
exit $failed
