"""What training and testing have in common: arguments, checks of the data, the runner."""

import argparse
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmjoint.engine import JointRunner
from mmjoint.registry import DATASETS, EVALUATOR, METRICS
from mmjoint.utils.dist import init_distributed, rank_from_environment
from mmjoint.utils.errors import UserError

from .checks import check_config, quiet_logging
from .config import OptionsAction, building, load_config
from .failures import LAUNCHER_PID, is_launched

_TRAIN_ONLY = ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler')
_VAL_ONLY = ('val_dataloader', 'val_cfg', 'val_evaluator')


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share."""
    parser.add_argument(
        '--work-dir', metavar='DIR', help='folder of the outputs; work_dirs/<config name>'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='override keys of the config: optim_wrapper.optimizer.lr=1e-3 "a.b=[1,2]"',
    )
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='who started this process as one of several',
    )
    parser.add_argument(
        '--traceback', action='store_true', help='show where in the program an error arose'
    )


def prepare_config(args: argparse.Namespace, *, training: bool) -> Config:
    """Load, merge and check the config of a command line.

    Raises:
        UserError: If there is a mistake in it.
    """
    # mmcv says at import that it was installed without its compiled operators, which we never use.
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    cfg = load_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope') or 'mmjoint')
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    _check_folder(cfg.work_dir, 'work_dir')
    cfg.launcher = args.launcher
    if not training:
        for key in (*_TRAIN_ONLY, *_VAL_ONLY):
            cfg[key] = None
    check_config(cfg, training=training)
    return cfg


def _check_folder(path: str, name: str) -> None:
    folder = Path(path)
    existing = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    if not existing.is_dir():
        raise UserError(f'{name}: {existing} is a file, expected a folder that can be written to')
    if not os.access(existing, os.W_OK):
        raise UserError(f'{name}: no permission to write to {existing}; choose another --work-dir')


def check_data(cfg: Config, *, training: bool) -> None:
    """Build the data sets and metrics once, so that their mistakes show before anything starts.

    Raises:
        UserError: If a data set is missing or malformed, or an argument is impossible.
    """
    loaders = ('train_dataloader', 'val_dataloader') if training else ('test_dataloader',)
    with building(cfg), quiet_logging():
        for name in loaders:
            if cfg.get(name) is None:
                continue
            dataset = DATASETS.build(cfg[name]['dataset'])
            if hasattr(dataset, 'full_init'):
                dataset.full_init()
            if len(dataset) == 0:
                raise UserError(f'{cfg.filename}: {name}.dataset holds no sample')
        build_metrics(cfg.get('val_evaluator' if training else 'test_evaluator'))


def build_metrics(evaluator: Any) -> list[Any]:
    """Build the metrics of an evaluator's config, for looking at them."""
    if evaluator is None:
        return []
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        built = EVALUATOR.build({'type': 'Evaluator', **evaluator})
        return list(built.metrics)
    configs = evaluator if isinstance(evaluator, Sequence) else [evaluator]
    return [METRICS.build(config) for config in configs]


def join_processes(cfg: Config) -> None:
    """Join the process group and let only the main process warn."""
    if cfg.launcher == 'none':
        return
    if is_launched():
        _die_with_launcher()
    if rank_from_environment() != 0:
        warnings.simplefilter('ignore')
    if not torch.cuda.is_available():
        # A matter of speed on CUDA devices, where DDP may well tell it.
        warnings.filterwarnings('ignore', message='Grad strides do not match bucket view strides')
    init_distributed(cfg.launcher, (cfg.get('env_cfg') or {}).get('dist_cfg'))


def _die_with_launcher() -> None:
    """Ask the kernel to end this process with its parent: a killed launcher leaves no orphans."""
    import ctypes
    import signal
    import sys

    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG
        parent = os.getppid()
        if os.environ.get(LAUNCHER_PID, str(parent)) != str(parent):  # it died before that
            os.kill(os.getpid(), signal.SIGKILL)


def use_deterministic_settings(cfg: Config) -> None:
    """Set what must stand before CUDA starts for repeatable results."""
    if (cfg.get('randomness') or {}).get('deterministic'):
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        torch.backends.cudnn.benchmark = False
        if cfg.get('env_cfg'):
            cfg.env_cfg.cudnn_benchmark = False


def build_runner(cfg: Config) -> JointRunner:
    """Build the runner; a constructor's complaint becomes one line that names the config."""
    with building(cfg):
        return JointRunner.from_cfg(cfg)
