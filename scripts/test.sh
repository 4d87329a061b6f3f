#!/usr/bin/env bash
# Checks everything: style, types, the floors of the house, and the tests. Real data where CAPTIONER_REAL_DATA names it.
#   ./scripts/test.sh [ARGUMENTS OF pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
export PATH="$PWD/.venv/bin:$PATH" OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
ruff check .
ruff format --check .
mypy
lint-imports
pytest -n "${TEST_PROCESSES:-2}" "$@"
