#!/usr/bin/env bash
# Licences, bans and sources of every dependency, and advisories where the database of RustSec can be reached.
set -euo pipefail
cd "$(dirname "$0")/.."
.ci/tools.sh cargo-deny
export PATH=$PWD/.tools/bin:$PATH
deny() { cargo deny --locked --config .cargo/deny.toml "$@"; }

# Versions that differ are warnings; only what fails is shown with where it comes from.
deny --log-level error check bans licenses sources
if refused=$(deny fetch db 2>&1); then
    deny --log-level error check advisories
else
    echo "skipped: advisories (their database cannot be reached: $(grep -io "fatal: .*\|could not .*" <<<"$refused" | head -1))"
fi
