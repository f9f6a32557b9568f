#!/usr/bin/env bash
# Make the virtual environment .venv and install mmjoint in it, once; sourced by the other scripts.
# A second run installs nothing, unless setup.py or the constraints have changed since.
# PYTHON_BASE chooses the interpreter (default python3); MMJOINT_VENV another folder than .venv.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${MMJOINT_VENV:-$root/.venv}
constraints=$root/requirements/constraints.txt
stamp=$venv/.mmjoint-installed
wanted=$(cat "$root/setup.py" "$constraints" | sha256sum | cut -d' ' -f1)

if [ ! -x "$venv/bin/python" ]; then
    echo "making the environment $venv"
    "${PYTHON_BASE:-python3}" -m venv "$venv"
fi
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    echo "installing mmjoint and what it needs into $venv (several GB, minutes)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$constraints" --editable "$root[dev]"
    echo "$wanted" >"$stamp"
fi
PYTHON=$venv/bin/python
export PYTHON
