"""Fit temperatures on the validation set: the program behind ``tools/calibrate.py``."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from mmjoint.engine.checkpoint import read_checkpoint
from mmjoint.utils.errors import UserError

from .checks import check_config
from .config import load_config
from .failures import speaking_once
from .running import (
    add_common_arguments,
    build_runner,
    check_data,
    join_processes,
    prepare_config,
    use_deterministic_settings,
)
from .temperatures import KEYS, write_temperatures
from .uncertainty import adapt_dataset, add_uq_arguments, choose_uq, place_estimator, uq_from_args


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``tools/calibrate.py``."""
    parser = argparse.ArgumentParser(
        prog='tools/calibrate.py',
        description='Fit the temperatures of pixel and class probabilities on the validation set.',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of the model that the config describes')
    add_common_arguments(parser)
    add_uq_arguments(parser)
    parser.add_argument(
        '--split',
        metavar='NAME',
        help='fit on this split in place of the one that val_dataloader names',
    )
    parser.add_argument(
        '--out',
        required=True,
        metavar='FILE',
        help='.json file of the temperatures, for tools/test.py --temperature',
    )
    return parser.parse_args(argv)


def prepare(args: argparse.Namespace) -> Config:
    """Make the config of a test on the validation set, and check it without side effects.

    The data set is that of ``val_dataloader``, its pipeline that of ``test_dataloader``: the
    temperature is fitted to predictions as they are made in testing.

    Raises:
        UserError: If there is a mistake in it.
    """
    if Path(args.out).suffix != '.json':
        raise UserError(f'--out {args.out}: expected a name that ends in .json')
    validation = load_config(args.config, args.cfg_options).get('val_dataloader')
    if validation is None:
        raise UserError(
            f'{args.config}: val_dataloader is missing; temperatures are fitted on validation data'
        )
    cfg = prepare_config(args, training=False)
    read_checkpoint(args.checkpoint)
    uq = uq_from_args(cfg, args) or choose_uq(cfg, 'softmax')
    cfg.uq = {key: value for key, value in uq.items() if key not in KEYS}
    dataset = _as_in_testing(validation['dataset'], cfg.test_dataloader['dataset'])
    if args.split is not None:
        if 'split' not in dataset:
            raise UserError(
                f'--split {args.split}: val_dataloader.dataset has no key split; set ann_file by '
                '--cfg-options'
            )
        dataset['split'] = args.split
    cfg.test_dataloader = {**cfg.test_dataloader, 'dataset': adapt_dataset(dataset, cfg.uq)}
    cfg.test_evaluator = [dict(type='TemperatureMetric', task=task) for task in ('seg', 'cls')]
    cfg.load_from, cfg.resume = None, False
    check_config(cfg, training=False)
    return cfg


def _as_in_testing(dataset: Mapping[str, Any], tested: Mapping[str, Any]) -> dict[str, Any]:
    dataset = dict(dataset)
    if 'pipeline' in dataset and 'pipeline' in tested:
        dataset['pipeline'] = tested['pipeline']
    if 'cache' in dataset:
        dataset['cache'] = False  # each image is read once
    return dataset


def run(cfg: Config, args: argparse.Namespace) -> dict[str, Any]:
    """Predict the validation set as a checked config says, fit the temperatures and write them.

    Returns:
        What was written.

    Raises:
        UserError: If there is nothing to fit a temperature to.
    """
    use_deterministic_settings(cfg)
    join_processes(cfg)
    runner = build_runner(cfg)
    runner.load_checkpoint(args.checkpoint, strict=True)
    place_estimator(runner, cfg.uq)
    results = runner.test()
    if not results:
        raise UserError(
            f'{cfg.filename}: expected validation samples with labels of a task that the model '
            'has, found none; name a labelled split by --split'
        )
    if not is_main_process():
        return {}
    for task in ('seg', 'cls'):
        if f'{task}/temperature' not in results:
            continue
        runner.logger.info(
            f'{task}: temperature {results[f"{task}/temperature"]:.4f}, mean negative '
            f'log-likelihood {results[f"{task}/NLL_before"]:.4f} -> '
            f'{results[f"{task}/NLL_after"]:.4f}'
        )
        if results[f'{task}/temperature_at_bound']:
            runner.logger.warning(
                f'{task}: no temperature is best within the range, whose end was taken: the '
                'validation predictions are all right, or worse than guessing; use more data'
            )
    record = write_temperatures(
        args.out,
        results,
        cfg.uq,
        config=args.config,
        checkpoint=args.checkpoint,
        split=cfg.test_dataloader['dataset'].get('split'),
    )
    runner.logger.info(f'temperatures are in {args.out}')
    return record


def main(argv: list[str] | None = None) -> None:
    """Calibrate from the command line."""
    args = parse_args(argv)
    with speaking_once():
        cfg = prepare(args)
        check_data(cfg, training=False)
        run(cfg, args)
