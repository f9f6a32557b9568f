import os
import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_backend, get_world_size, is_main_process
from mmengine.hooks import Hook

import mmjoint
from mmjoint.registry import HOOKS
from mmjoint.utils.io import atomic_write_json

_PACKAGES = (
    'torch',
    'torchvision',
    'onedl-mmengine',
    'onedl-mmcv',
    'onedl-mmsegmentation',
    'onedl-mmpretrain',
    'numpy',
    'opencv-python',
    'scipy',
    'monai',
    'torchmetrics',
)


def _git(*arguments: str) -> str | None:
    """Run git on the folder of the source code; ``None`` outside a checkout or without git."""
    try:
        done = subprocess.run(
            ['git', '-C', str(Path(mmjoint.__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def collect_environment() -> dict[str, Any]:
    """Describe the program, its libraries and the machine in plain values.

    Returns:
        The keys ``time``, ``command``, ``mmjoint``, ``python``, ``packages``, ``machine``,
        ``devices`` and ``threads``.
    """
    commit = _git('rev-parse', 'HEAD')
    cuda = torch.cuda.is_available()
    return {
        'time': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
        'command': shlex.join([sys.executable, *sys.argv]),
        'mmjoint': {
            'version': mmjoint.__version__,
            'git_commit': commit,
            'git_modified': bool(_git('status', '--porcelain')) if commit else None,
        },
        'python': platform.python_version(),
        'packages': {name: _version(name) for name in _PACKAGES},
        'machine': {
            'platform': platform.platform(),
            'processor': platform.machine(),
            'cpu_count': os.cpu_count(),
        },
        'devices': [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if cuda
        else ['cpu'],
        'cuda': torch.version.cuda if cuda else None,
        'cudnn': torch.backends.cudnn.version() if cuda else None,
        'threads': torch.get_num_threads(),
    }


@HOOKS.register_module()
class EnvironmentHook(Hook):
    """Write ``environment.json`` beside the log: what is needed to repeat the run."""

    priority = 'VERY_HIGH'

    def before_run(self, runner: Any) -> None:
        """Write the file, from the main process."""
        if not is_main_process():
            return
        environment = collect_environment()
        environment['run'] = {
            'seed': runner.seed,
            'deterministic': bool(runner.deterministic),
            'world_size': get_world_size(),
            'backend': get_backend() if runner.distributed else None,
            'work_dir': runner.work_dir,
            'config': runner.cfg.filename,
        }
        atomic_write_json(Path(runner.log_dir) / 'environment.json', environment)
