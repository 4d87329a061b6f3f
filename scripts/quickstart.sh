#!/usr/bin/env bash
# Installs the project, trains and scores a captioner on generated pictures, and writes a page of captions with maps.
#   ./scripts/quickstart.sh
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
exec .venv/bin/python scripts/quickstart.py
