"""Train, test and evaluate by one command: the program behind ``tools/train_and_test.sh``.

Everything is started by :mod:`mmjoint.apis.launch`, as by ``tools/dist_train.sh`` and
``tools/dist_test.sh``. What has been done is read from the checkpoints, so the command can be
killed at any moment and called again.
"""

import argparse
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmjoint import __version__
from mmjoint.engine.checkpoint import (
    find_resumable,
    read_meta,
    read_runtime_info,
    training_is_finished,
)
from mmjoint.evaluation.eval_names import resolve_names
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_json, atomic_write_text, sha256_file

from . import launch
from .config import OptionsAction, building, load_config
from .results_table import markdown_tables, over_seeds
from .running import build_metrics, check_data, prepare_config


class _WordsAction(OptionsAction):
    """``--cfg-options``, also kept as it was written, to be passed on."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        super().__call__(parser, namespace, values, option_string)
        namespace.option_words = [*namespace.option_words, *values]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``tools/train_and_test.sh``."""
    parser = argparse.ArgumentParser(
        prog='tools/train_and_test.sh',
        description='Train (or go on with a training that was interrupted), test and evaluate.',
    )
    parser.set_defaults(option_words=[], launcher='none')
    parser.add_argument('config', help='config file')
    parser.add_argument('num_processes', metavar='N', help='processes on this machine')
    parser.add_argument(
        '--test-only', action='store_true', help='train nothing, test what has been trained'
    )
    parser.add_argument(
        '--select',
        choices=('best', 'last', 'both'),
        help="test the checkpoint that the config's save_best has chosen on validation data, the "
        'last one, or both; best where the config has a save_best (the first of several), else '
        'last',
    )
    parser.add_argument(
        '--work-dir', metavar='DIR', help='folder of the outputs; work_dirs/<config name>'
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument('--seed', type=int, help='of everything that is drawn')
    seeds.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        metavar='SEED',
        help='do all for each seed, in <work folder>/seed_<SEED>, then give mean and population '
        'standard deviation of each measure',
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (CUDA only)')
    parser.add_argument(
        '--deterministic', action='store_true', help='use algorithms that repeat exactly'
    )
    parser.add_argument('--eval', nargs='+', metavar='NAME', help='compute these measures only')
    parser.add_argument('--report', action='store_true', help='write an HTML report of each test')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_WordsAction,
        metavar='KEY=VALUE',
        help='override keys of the config, in training and testing',
    )
    return parser.parse_args(argv)


def _say(text: str) -> None:
    print(f'== {text}', flush=True)


class _Plan:
    """What a command line asks for, checked before anything is started.

    Attributes:
        train_cfg: The config's.
        selection: ``best``, ``last`` or both.
        folders: The work folder of each seed; of the one training without ``--seeds`` alone.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        launch.parse_args(['test', args.num_processes])
        cfg = load_config(args.config, args.cfg_options)
        self.train_cfg = cfg.get('train_cfg') or {}
        self.save_best = _save_best(cfg)
        self.selection = self._select()
        test_cfg = prepare_config(args, training=False)
        if args.eval is not None:
            with building(test_cfg):
                resolve_names(build_metrics(test_cfg.test_evaluator), args.eval)
        check_data(test_cfg, training=False)
        work_dir = Path(test_cfg.pop('work_dir'))
        self.work_dir = work_dir
        self.test_settings = hashlib.sha256(repr(test_cfg._cfg_dict).encode()).hexdigest()
        if args.seeds is not None and len(set(args.seeds)) < len(args.seeds):
            raise UserError(f'--seeds: expected different seeds, found {args.seeds}')
        self.folders: dict[int | None, Path] = (
            {args.seed: work_dir}
            if args.seeds is None
            else {seed: work_dir / f'seed_{seed}' for seed in args.seeds}
        )

    def _select(self) -> tuple[str, ...]:
        choice = self.args.select or ('last' if self.save_best is None else 'best')
        if choice != 'last' and self.save_best is None:
            raise UserError(
                f'--select {choice}: {self.args.config} sets no '
                'default_hooks.checkpoint.save_best, so no checkpoint is the best one; set it or '
                'use --select last'
            )
        return ('best', 'last') if choice == 'both' else (choice,)

    def name(self, seed: int | None) -> str:
        """Start of the lines about one of several trainings."""
        return '' if self.args.seeds is None else f'seed {seed}: '


def _save_best(cfg: Config) -> tuple[str, str] | None:
    """Give the result by which the best checkpoint is chosen, and the note under which it is kept.

    Returns:
        Key (``'auto'`` possibly) and name in the message hub; None if no best one is saved.
    """
    key = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best')
    if not key:
        return None
    if isinstance(key, str):
        return key, 'best_ckpt'
    return key[0], 'best_ckpt' if len(key) == 1 else f'best_ckpt_{key[0]}'


# Training -----------------------------------------------------------------------------------


def _newest(plan: _Plan, seed: int | None) -> tuple[Path | None, list[str]]:
    """Find the newest whole checkpoint of a training.

    Raises:
        UserError: If it is of another seed, or there are checkpoints but none can be read.
    """
    folder = plan.folders[seed]
    path, warnings = find_resumable(folder)
    if path is not None and seed is not None:
        trained = read_meta(path).get('seed')
        if trained != seed:
            raise UserError(
                f'{path}: was trained with seed {trained}, not {seed}; choose another --work-dir'
            )
    return path, warnings


def _train(plan: _Plan, seed: int | None) -> None:
    """Train to the end, from wherever the work folder says."""
    args, folder = plan.args, plan.folders[seed]
    path, _ = _newest(plan, seed)
    words = [args.config, '--work-dir', str(folder)]
    if seed is not None:
        words += ['--seed', str(seed)]
    for option in ('amp', 'deterministic'):
        if getattr(args, option):
            words.append(f'--{option}')
    if args.option_words:
        words += ['--cfg-options', *args.option_words]
    if path is None:
        _say(f'{plan.name(seed)}training in {folder}')
    elif training_is_finished(path, plan.train_cfg):
        _say(f'{plan.name(seed)}training is finished: {path}')
        return
    else:
        _say(f'{plan.name(seed)}going on with the training that was interrupted, from {path}')
        words.append('--resume')
    launch.main(['train', args.num_processes, *words])


# Testing ------------------------------------------------------------------------------------


def _best(plan: _Plan, folder: Path, newest: Path | None) -> Path:
    """Find the best checkpoint of a work folder."""
    key, note = plan.save_best
    name = None if newest is None else read_runtime_info(newest).get(note)
    if name is not None and (folder / name).is_file():
        return folder / name
    # A training that has not ended may have found a better one since its newest checkpoint.
    start = '' if key == 'auto' else f'{key}_'.replace('/', '_')
    pattern = re.compile(rf'best_{re.escape(start)}.*(?:epoch|iter)_\d+\.pth')
    files = folder.iterdir() if folder.is_dir() else ()
    found = [path for path in files if pattern.fullmatch(path.name)]
    if not found:
        raise UserError(
            f'{folder}: no best checkpoint (best_{start}*.pth) is there; train first, without '
            '--test-only, or use --select last'
        )
    return max(found, key=lambda path: read_meta(path)['iter'])


def _choose(plan: _Plan, seed: int | None) -> dict[str, Path]:
    """Choose the checkpoints to test.

    Raises:
        UserError: If one is missing.
    """
    folder = plan.folders[seed]
    newest, warnings = _newest(plan, seed)
    chosen = {}
    for which in plan.selection:
        if which == 'best':
            chosen[which] = _best(plan, folder, newest)
        elif newest is None:
            raise UserError(
                f'{folder}: no checkpoint (epoch_*.pth, iter_*.pth) is there; train first, without '
                '--test-only'
            )
        else:
            for warning in warnings:
                _say(f'{plan.name(seed)}warning: {warning}')
            chosen[which] = newest
    return chosen


def _test(plan: _Plan, seed: int | None, which: str, checkpoint: Path) -> dict[str, Any] | None:
    """Test a checkpoint, unless that has been done.

    Returns:
        The metrics; None on machines other than the first.
    """
    args = plan.args
    folder = plan.folders[seed] / 'test' / which
    record = folder / 'tested.json'
    identity = {
        'checkpoint': sha256_file(checkpoint),
        'settings': plan.test_settings,
        'eval': args.eval,
        'report': args.report,
        'deterministic': args.deterministic,
        'version': __version__,
    }
    before = json.loads(record.read_text(encoding='utf-8')) if record.is_file() else {}
    if not args.test_only and before.get('identity') == identity:
        _say(f'{plan.name(seed)}{checkpoint} has been tested (--test-only tests it again)')
        return before['metrics']
    _say(f'{plan.name(seed)}testing the {which} checkpoint, {checkpoint}')
    out = folder / 'metrics.json'
    words = [args.config, str(checkpoint), '--work-dir', str(folder), '--out', str(out)]
    if args.eval is not None:
        words += ['--eval', *args.eval]
    if args.report:
        words.append('--report')
    # What is drawn in testing (MC dropout, say) repeats, too.
    options = [f'randomness.seed={read_meta(checkpoint).get("seed")}']
    if args.deterministic:
        options.append('randomness.deterministic=True')
    words += ['--cfg-options', *options, *args.option_words]
    launch.main(['test', args.num_processes, *words])
    if not _is_first_machine():
        return None
    metrics = json.loads(out.read_text(encoding='utf-8'))
    # One file for both, so that they cannot be of two different tests.
    atomic_write_json(record, {'identity': identity, 'metrics': metrics})
    return metrics


def _is_first_machine() -> bool:
    return os.environ.get('NODE_RANK', '') in ('', '0')


# Results ------------------------------------------------------------------------------------


def _describe(checkpoint: Path) -> dict[str, Any]:
    meta = read_meta(checkpoint)
    return {'file': checkpoint.name, **{k: meta.get(k) for k in ('epoch', 'iter', 'seed')}}


def _write(
    plan: _Plan,
    folder: Path,
    values: Mapping[str, Mapping[str, Any]],
    checkpoints: Mapping[str, Sequence[Mapping[str, Any]]],
    seeds: Sequence[int] | None = None,
) -> None:
    """Write ``results.json`` and ``results.md``: of one training, or over several ``seeds``."""
    measures = {which: _without_uq(one) for which, one in values.items()}
    content: dict[str, Any] = {'config': plan.args.config}
    parts = [f'# Test results of {Path(plan.args.config).stem}\n']
    if seeds is not None:
        content['seeds'] = seeds
        named = ', '.join(map(str, seeds))
        parts.append(f'Mean ± population standard deviation over the seeds {named}.\n')
    for which, one in measures.items():
        names = '; '.join(f'{c["file"]} (seed {c["seed"]})' for c in checkpoints[which])
        chosen = f', chosen by {plan.save_best[0]} on validation data' if which == 'best' else ''
        parts += [f'## The {which} checkpoint\n', f'{names}{chosen}\n', markdown_tables(one)]
    content.update(checkpoints=checkpoints, results=measures)
    uq = next((one['uq'] for one in values.values() if 'uq' in one), None)
    if uq is not None:
        content['uq'] = uq
    atomic_write_json(folder / 'results.json', content)
    atomic_write_text(folder / 'results.md', '\n'.join(parts))


def _without_uq(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the settings of the estimator, which stand among the metrics of a test."""
    return {key: value for key, value in metrics.items() if key != 'uq'}


def _combine(tested: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Give mean and deviation over the seeds, for each kind of checkpoint."""
    combined = {}
    for which, first in tested[0].items():
        combined[which] = over_seeds([_without_uq(one[which]) for one in tested])
        if 'uq' in first:
            combined[which]['uq'] = first['uq']
    return combined


def main(argv: list[str] | None = None) -> None:
    """Train, test and evaluate from the command line."""
    args = parse_args(argv)
    plan = _Plan(args)
    if args.test_only:
        for seed in plan.folders:
            _choose(plan, seed)  # a missing one is told before the others are tested
    tested, described = [], []
    for seed, folder in plan.folders.items():
        if not args.test_only:
            _train(plan, seed)
        chosen = _choose(plan, seed)
        metrics = {which: _test(plan, seed, which, path) for which, path in chosen.items()}
        if not _is_first_machine():
            continue
        tested.append(metrics)
        described.append({which: _describe(path) for which, path in chosen.items()})
        _write(plan, folder, metrics, {which: [one] for which, one in described[-1].items()})
    if not tested:
        return
    folder = plan.work_dir
    if args.seeds is not None:
        checkpoints = {which: [one[which] for one in described] for which in plan.selection}
        _write(plan, folder, _combine(tested), checkpoints, args.seeds)
    print((folder / 'results.md').read_text(encoding='utf-8'), flush=True)
    _say(f'results are in {folder / "results.json"} and {folder / "results.md"}')
