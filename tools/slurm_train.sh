#!/usr/bin/env bash
# Train on a Slurm cluster:
#   bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
# Environment: GPUS (processes in all, 8), GPUS_PER_NODE (8; 0 runs on CPUs over gloo),
# CPUS_PER_TASK (5), SRUN_ARGS (more options of srun), PORT (29500).
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]" >&2
    exit 2
fi
if ! command -v srun > /dev/null; then
    echo "error: srun not found: this machine is no Slurm login node, use tools/dist_train.sh" >&2
    exit 1
fi
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$tools/find_python.sh"
partition=$1 job_name=$2
shift 2
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
placement=(--ntasks="$gpus")
if [ "$per_node" -gt 0 ]; then
    tasks=$((gpus < per_node ? gpus : per_node))
    placement+=(--gres="gpu:$tasks" --ntasks-per-node="$tasks")
fi
# shellcheck disable=SC2086 # SRUN_ARGS is a list of words
exec srun -p "$partition" --job-name="$job_name" "${placement[@]}" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "$PYTHON" -u "$tools/train.py" "$@" --launcher slurm
