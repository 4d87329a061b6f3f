#!/usr/bin/env bash
# Makes .venv with the project and all it needs; does nothing when it is up to date.
#   scripts/setup.sh [EXTRA ...]     for example: scripts/setup.sh tensorboard
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
    for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3; do
        if "$name" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "error: no Python 3.11 to 3.13 with venv found; install one, or name it: PYTHON=/path/to/python $0" >&2
    exit 2
}

extras=$(IFS=,; echo "$*")
if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    echo "making .venv with $("$python" --version)"
    "$python" -m venv .venv
fi
stamp=".venv/installed-${extras:-none}"
wanted=$(.venv/bin/python -c 'import hashlib, pathlib; print(hashlib.sha256(pathlib.Path("pyproject.toml").read_bytes()).hexdigest())')
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing captioner${extras:+[$extras]} into .venv (PyTorch is large: this can take some minutes)"
    # uv installs several times faster than pip; without it pip does.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check uv 2>/dev/null || true
    target=".${extras:+[$extras]}"
    if [ -x .venv/bin/uv ]; then
        .venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --editable "$target"
    else
        .venv/bin/python -m pip install --disable-pip-version-check --editable "$target"
    fi
    echo "$wanted" > "$stamp"
fi
