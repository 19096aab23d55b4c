#!/usr/bin/env bash
# End-to-end checks: the built program, with clients that we did not write.
#
#     tests/e2e/run.sh [WORD...]      only the checks whose names contain one of the words
#     tests/e2e/run.sh --soak MINUTES  bad clients for so long, beside a good one
#
# Needs cargo, node (18 or newer) with npm, and python3 with venv. Everything that it makes lies under target/e2e.
# FGPLAY_BIN: the program to check; without it, it is built here.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/e2e
mkdir -p "$work/node"
work=$(cd "$work" && pwd)

for tool in cargo node npm python3; do
    if ! command -v "$tool" >/dev/null; then
        echo "tests/e2e/run.sh needs $tool, which is not installed." >&2
        exit 1
    fi
done

if [ -z "${FGPLAY_BIN:-}" ]; then
    cargo build --release --locked --manifest-path "$root/Cargo.toml" --target-dir "$target"
    FGPLAY_BIN=$target/release/fgplay
fi

# Packages are installed once, and again where their list has changed.
if ! cmp -s "$here/requirements.txt" "$work/venv/requirements.txt"; then
    rm -rf "$work/venv"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$work/venv/"
fi
if ! cmp -s "$here/package-lock.json" "$work/node/installed-lock.json"; then
    cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$work/node/"
    npm ci --prefix "$work/node" --silent --no-audit --no-fund
    cp "$here/package-lock.json" "$work/node/installed-lock.json"
fi
# Node looks for packages beside the script.
cp "$here/ws_protocol_client.mjs" "$here/control_page.mjs" "$work/node/"
cargo build --locked --manifest-path "$here/sdk_client/Cargo.toml" --target-dir "$work/sdk_client"

export FGPLAY_BIN
export E2E_NODE_CLIENT=$work/node/ws_protocol_client.mjs
export E2E_SDK_CLIENT=$work/sdk_client/debug/fgplay-e2e-sdk-client
export E2E_PAGE_CHECK=$work/node/control_page.mjs
export E2E_OUTPUT=$work/runs
export PYTHONDONTWRITEBYTECODE=1

if [ "${1:-}" = --soak ]; then
    exec "$work/venv/bin/python" "$here/soak.py" "${2:?for how many minutes?}"
fi

"$work/venv/bin/python" "$here/test_compare.py"
"$work/venv/bin/python" "$here/test_flow.py"
exec "$work/venv/bin/python" "$here/run.py" "$@"
