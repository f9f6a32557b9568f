#!/usr/bin/env bash
# Train, test and evaluate on N processes: bash tools/train_and_test.sh CONFIG N [options]
# --test-only tests the checkpoints that are there; --seeds S ... does all for each seed and gives
# mean and standard deviation; --help lists all options. Called again after an interruption it goes
# on where it was. Processes run where those of tools/dist_train.sh do.
set -euo pipefail

if [ "$#" -lt 2 ] && [ "${1:-}" != "--help" ]; then
    echo "usage: bash tools/train_and_test.sh CONFIG N [options]; --help lists them" >&2
    exit 2
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tools/find_python.sh"
exec "$PYTHON" "$tools/train_and_test.py" "$@"
