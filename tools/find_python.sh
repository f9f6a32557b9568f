# Sourced by the other scripts: sets PYTHON, unless the environment has it. An active virtual
# environment goes first, then the .venv of this repository, then whatever is on the PATH.
if [ -z "${PYTHON:-}" ]; then
    repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    if [ -n "${VIRTUAL_ENV:-}" ] && [ -x "$VIRTUAL_ENV/bin/python" ]; then
        PYTHON=$VIRTUAL_ENV/bin/python
    elif [ -x "$repository/.venv/bin/python" ]; then
        PYTHON=$repository/.venv/bin/python
    else
        PYTHON=$(command -v python3 || command -v python || true)
    fi
fi
if [ -z "$PYTHON" ]; then
    echo "error: no python found; install it or set PYTHON to its path" >&2
    exit 1
fi
