"""Train a model from a config: the program behind ``tools/train.py``."""

import argparse
from typing import Any

import torch
from mmengine.config import Config

from mmjoint.engine import JointRunner
from mmjoint.engine.checkpoint import find_resumable, read_checkpoint, read_meta
from mmjoint.utils.dist import rank_from_environment, share_from_main
from mmjoint.utils.errors import UserError
from mmjoint.utils.memory import keep_freed_memory

from .config import building
from .failures import is_launched, main_speaks, speaking_once
from .running import (
    add_common_arguments,
    build_runner,
    check_data,
    join_processes,
    prepare_config,
    use_deterministic_settings,
)

NEWEST = 'newest'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``tools/train.py``."""
    parser = argparse.ArgumentParser(prog='tools/train.py', description='Train a model.')
    parser.add_argument('config', help='config file')
    add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const=NEWEST,
        metavar='CKPT',
        help='go on from CKPT, or from the newest checkpoint of the work folder',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision (CUDA only)')
    parser.add_argument('--seed', type=int, help='of everything that is drawn')
    parser.add_argument(
        '--deterministic', action='store_true', help='use algorithms that repeat exactly'
    )
    return parser.parse_args(argv)


def prepare(args: argparse.Namespace) -> Config:
    """Make the config of a training from the command line, and check it without side effects.

    Raises:
        UserError: If there is a mistake in it.
    """
    cfg = prepare_config(args, training=True)
    randomness = dict(cfg.get('randomness') or {})
    if args.seed is not None:
        if not 0 <= args.seed < 2**32:
            raise UserError(f'--seed: expected an integer in [0, 2**32), found {args.seed}')
        randomness['seed'] = args.seed
    if args.deterministic:
        randomness['deterministic'] = True
    cfg.randomness = {'seed': None, **randomness}
    if args.amp:
        _use_amp(cfg)
    if args.resume not in (None, NEWEST):
        read_checkpoint(args.resume)
    elif args.resume is None and isinstance(cfg.get('load_from'), str):
        read_checkpoint(cfg.load_from)
    return cfg


def _use_amp(cfg: Config) -> None:
    """Switch the optimizer wrappers of a config to mixed precision."""
    if not torch.cuda.is_available():
        raise UserError(
            '--amp: mixed precision needs a CUDA device, none was found; leave --amp out'
        )
    wrappers = (
        [cfg.optim_wrapper]
        if 'optimizer' in cfg.optim_wrapper
        else [value for value in cfg.optim_wrapper.values() if isinstance(value, dict)]
    )
    for wrapper in wrappers:
        if wrapper.get('type', 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise UserError(
                f'--amp: expected optim_wrapper.type OptimWrapper, found {wrapper["type"]}; set '
                'mixed precision in the config'
            )
        wrapper['type'] = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')


def _choose_resume(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Write into the config where to go on from; gives the warnings to be logged."""
    notes: list[str] = []
    path: Any = None
    if args.resume == NEWEST:
        # One process looks, so that all take the same checkpoint.
        found = find_resumable(cfg.work_dir) if rank_from_environment() == 0 else None
        path, notes = share_from_main(found)
        if path is None:
            notes.append(f'nothing to resume in {cfg.work_dir}: training starts anew')
            cfg.resume = False
    elif args.resume is not None:
        path = args.resume
    if path is not None:
        cfg.load_from, cfg.resume = str(path), True
        seed = read_meta(path).get('seed')
        if args.seed is not None and seed is not None and args.seed != seed:
            raise UserError(
                f'--seed {args.seed}: {path} was trained with seed {seed}; leave --seed out to '
                'resume it'
            )
        # Samplers are built with the seed, so it must be known before the runner is made.
        cfg.randomness.seed = seed
    return notes


def run(cfg: Config, args: argparse.Namespace) -> JointRunner:
    """Train as a checked config says.

    Returns:
        The runner after training.
    """
    use_deterministic_settings(cfg)
    join_processes(cfg)
    notes = _choose_resume(cfg, args)
    runner = build_runner(cfg)
    for note in notes:
        runner.logger.warning(note)
    with building(cfg):
        # Built before training, so that what constructors refuse is told as the config's mistake.
        runner.build_training()
    with keep_freed_memory():
        runner.train()
    runner.logger.info(f'done: checkpoints in {runner.work_dir}, log in {runner.log_dir}')
    return runner


def main(argv: list[str] | None = None) -> None:
    """Train from the command line."""
    args = parse_args(argv)
    with speaking_once():
        with main_speaks(args.launcher):
            cfg = prepare(args)
            if not is_launched():
                check_data(cfg, training=True)
        run(cfg, args)
