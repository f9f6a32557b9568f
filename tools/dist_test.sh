#!/usr/bin/env bash
# Test on N processes: bash tools/dist_test.sh CONFIG CKPT N [arguments of tools/test.py]
# N CUDA devices run over NCCL; without any, N CPU processes run over gloo.
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: bash tools/dist_test.sh CONFIG CKPT N [arguments of tools/test.py]" >&2
    exit 2
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tools/find_python.sh"
config=$1 checkpoint=$2 num_processes=$3
shift 3
exec "$PYTHON" "$tools/launch.py" test "$num_processes" "$config" "$checkpoint" "$@"
