"""Process groups for training on several processes: NCCL with CUDA devices, gloo without.

The launcher is torchrun (or Slurm) and the engine is mmengine. What is added here is the CPU: its
``init_dist`` calls ``torch.cuda.set_device`` for every backend, so a host without CUDA fails.
"""

import os
import subprocess
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import distributed as torch_dist

from .errors import UserError

Launcher = Literal['none', 'pytorch', 'slurm', 'mpi']

_NEEDED = {
    'pytorch': ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'),
    'mpi': ('OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'),
}
_STARTED_BY = {
    'pytorch': 'torchrun (tools/dist_train.sh, tools/dist_test.sh)',
    'slurm': 'srun (tools/slurm_train.sh, tools/slurm_test.sh)',
    'mpi': 'mpirun',
}


def rank_from_environment() -> int:
    """Give this process's rank before any process group exists; 0 for a single process."""
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        if os.environ.get(name, '').isdigit():
            return int(os.environ[name])
    return 0


def check_launcher(launcher: Launcher) -> None:
    """Stop if the environment is not the one that the launcher would have made.

    Raises:
        UserError: Naming the variables that are missing.
    """
    missing = [name for name in _NEEDED.get(launcher, ()) if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher {launcher} expects the environment variables {", ".join(missing)}, which '
            f'are not set: start the program with {_STARTED_BY[launcher]}, or leave --launcher out'
        )


def _slurm_to_torch() -> None:
    """Translate Slurm's variables into the ones that ``env://`` reads."""
    environ = os.environ
    environ['RANK'] = environ['SLURM_PROCID']
    environ['WORLD_SIZE'] = environ['SLURM_NTASKS']
    environ['LOCAL_RANK'] = environ.get('SLURM_LOCALID', '0')
    environ.setdefault('MASTER_PORT', environ.get('PORT', '29500'))
    if 'MASTER_ADDR' not in environ:
        names = subprocess.run(
            ['scontrol', 'show', 'hostnames', environ['SLURM_NODELIST']],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        if not names:
            raise UserError(
                'the first host of SLURM_NODELIST is unknown, scontrol gave nothing; set '
                'MASTER_ADDR'
            )
        environ['MASTER_ADDR'] = names[0]


def init_distributed(launcher: Launcher, dist_cfg: dict[str, Any] | None = None) -> None:
    """Join the process group, before a ``Runner`` is built; the runner then makes none itself.

    Args:
        launcher: Who started the processes; ``'none'`` does nothing.
        dist_cfg: ``env_cfg.dist_cfg`` of the config. ``timeout`` (seconds) holds for every
            backend, the rest for CUDA devices only.

    Raises:
        UserError: If the environment lacks the launcher's variables, or there are fewer CUDA
            devices than processes on this machine.
    """
    if launcher == 'none' or torch_dist.is_initialized():
        return
    check_launcher(launcher)
    dist_cfg = dict(dist_cfg or {})
    if launcher == 'slurm':
        _slurm_to_torch()
    if torch.cuda.is_available():
        local_rank = int(os.environ.get('LOCAL_RANK', 0))
        if launcher != 'mpi' and local_rank >= torch.cuda.device_count():
            raise UserError(
                f'process {local_rank} of this machine has no CUDA device: there are '
                f'{torch.cuda.device_count()}; start at most as many processes per machine'
            )
        from mmengine.dist import init_dist

        init_dist('pytorch' if launcher == 'slurm' else launcher, **dist_cfg)
        return
    if launcher == 'mpi':
        os.environ['RANK'] = os.environ['OMPI_COMM_WORLD_RANK']
        os.environ['WORLD_SIZE'] = os.environ['OMPI_COMM_WORLD_SIZE']
        os.environ['LOCAL_RANK'] = os.environ['OMPI_COMM_WORLD_LOCAL_RANK']
    timeout = dist_cfg.get('timeout')
    torch_dist.init_process_group(
        'gloo', timeout=None if timeout is None else timedelta(seconds=timeout)
    )


def share_from_main(value: Any) -> Any:
    """Give every rank the main process's ``value``; other ranks' arguments are ignored.

    Args:
        value: Anything that can be pickled.
    """
    if not torch_dist.is_initialized() or torch_dist.get_world_size() == 1:
        return value
    box = [value]
    torch_dist.broadcast_object_list(box, src=0)
    return box[0]
