#!/usr/bin/env bash
# Train on N processes: bash tools/dist_train.sh CONFIG N [arguments of tools/train.py]
# N CUDA devices run DDP over NCCL; without any, N CPU processes run over gloo.
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG N [arguments of tools/train.py]" >&2
    exit 2
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tools/find_python.sh"
config=$1 num_processes=$2
shift 2
exec "$PYTHON" "$tools/launch.py" train "$num_processes" "$config" "$@"
