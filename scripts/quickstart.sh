#!/usr/bin/env bash
# From nothing to a page that shows where a captioner looked for each word: installs, trains, scores, captions.
#   ./scripts/quickstart.sh
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
exec .venv/bin/python scripts/quickstart.py
