"""Short trainings on phantoms, run by the command line tools as a user would."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def call(script: str, *arguments: object) -> None:
    """Run a script of the repository on one core; a failure shows the end of its output."""
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f'{script}: {done.stdout[-1500:]}\n{done.stderr[-1500:]}'


def as_options(options: Mapping[str, Any]) -> list[str]:
    """Write a mapping as the words of ``--cfg-options``."""
    return ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]


def data_options(data_root: Path, splits: Sequence[str] = ('train', 'val', 'test')) -> dict:
    """Options that point a config at another prepared folder."""
    return {f'{split}_dataloader.dataset.data_root': f'{data_root}/' for split in splits}


def train(config: str, work_dir: Path, seed: int, options: Mapping[str, Any]) -> Path:
    """Train once and give the last checkpoint; a finished training is not repeated."""
    marker = work_dir / 'finished'
    if not marker.exists():
        words = as_options(options)
        call('tools/train.py', config, '--work-dir', work_dir, '--seed', seed, *words)
        marker.touch()
    return Path((work_dir / 'last_checkpoint').read_text().strip())


def evaluate(
    config: str,
    checkpoint: Path,
    out: Path,
    options: Mapping[str, Any],
    arguments: Sequence[object] = (),
) -> dict[str, float]:
    """Test once, with further arguments of ``tools/test.py``, and give the metrics."""
    call(
        'tools/test.py',
        config,
        checkpoint,
        '--work-dir',
        out.parent / 'test',
        '--out',
        out,
        *arguments,
        *as_options(options),
    )
    return json.loads(out.read_text())
