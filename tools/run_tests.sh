#!/usr/bin/env bash
# Lint, format check and all tests: bash tools/run_tests.sh [--slow] [arguments of pytest]
# Makes the environment first where there is none.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/make_environment.sh"
cd "$root"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
exec "$PYTHON" -m pytest "$@"
