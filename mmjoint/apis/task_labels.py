"""Write a test run's predictions as label maps of a task, and beside them where they come from."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process

from mmjoint.engine import JointRunner
from mmjoint.engine.checkpoint import hash_weights, read_meta
from mmjoint.engine.hooks import collect_environment
from mmjoint.engine.hooks.sample_names import sample_name
from mmjoint.functional.multilabel import NO_LABEL
from mmjoint.registry import HOOKS
from mmjoint.utils.errors import UserError
from mmjoint.utils.index_png import read_index_png
from mmjoint.utils.io import atomic_write_json, sha256_file

from .checks import suggestion
from .config import building
from .named_sets import NOTHING_MEASURED
from .uncertainty import settings_of

PROVENANCE = 'provenance.json'
SETTINGS = ('threshold', 'min_confidence', 'uncertainty', 'max_uncertainty')
"""What the config's ``task_labels`` may hold beside ``sources``: settings of ``TaskLabelHook``."""


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that ask for label maps."""
    parser.add_argument(
        '--vis',
        action='store_true',
        help='write label maps of the task that --source names into --output_dir, as pseudo labels '
        'of a next training, and nothing is measured unless --eval asks for it; settings: '
        '--cfg-options task_labels.threshold=0.5 task_labels.min_confidence=0.9 ...',
    )
    parser.add_argument(
        '--source',
        metavar='MODE',
        help="of --vis: one of the config's task_labels.sources (the first one by default), or a "
        'task',
    )
    parser.add_argument(
        '--output_dir', '--output-dir', metavar='DIR', help='of --vis: folder of the label maps'
    )


def label_settings(cfg: Config) -> dict[str, Any]:
    """Give what a config's ``task_labels`` set of the maps, those of ``SETTINGS`` alone.

    Raises:
        UserError: There is another key in it.
    """
    own = cfg.get('task_labels') or {}
    where = f'{cfg.filename}: task_labels'
    if not isinstance(own, Mapping):
        raise UserError(f'{where}: expected a dict, found {own!r}')
    known = {'sources', *SETTINGS}
    for key in set(own) - known:
        raise UserError(f'{where}.{key} is unknown{suggestion(key, known)}')
    return {key: own[key] for key in SETTINGS if key in own}


def choose_task(cfg: Config, source: str | None) -> str:
    """Give the task that ``--source`` means for a config.

    Args:
        cfg: ``task_labels.sources`` maps names to tasks.
        source: One of these names, or of these tasks; ``None`` means the first.

    Raises:
        UserError: There is no such name.
    """
    sources = dict((cfg.get('task_labels') or {}).get('sources') or {})
    if source is None and sources:
        return next(iter(sources.values()))
    if source in sources:
        return sources[source]
    if source in sources.values():
        return source
    raise UserError(
        f'--source {"is missing" if source is None else source}: expected one of '
        f'task_labels.sources of {cfg.filename} '
        f'({", ".join(f"{k}: {v}" for k, v in sources.items()) or "it has none"})'
    )


def check_label_arguments(args: argparse.Namespace) -> None:
    """Refuse options that miss each other, and a folder that is none.

    Raises:
        UserError: So it is.
    """
    for option in ('source', 'output_dir'):
        if getattr(args, option) is not None and not args.vis:
            raise UserError(f'--{option}: tells what --vis writes; add --vis')
    if not args.vis:
        return
    if args.output_dir is None:
        raise UserError('--vis: where to? add --output_dir DIR, the folder of the label maps')
    folder = Path(args.output_dir)
    if folder.exists() and not folder.is_dir():
        raise UserError(f'--output_dir {folder}: expected a folder, found a file; choose another')


def place_label_hook(
    cfg: Config, source: str | None, out_dir: str, *, measured: bool = False
) -> None:
    """Let a test run write label maps.

    Args:
        cfg: Of a test, is changed.
        source: See :func:`choose_task`.
        out_dir: Folder of the maps.
        measured: Whether metrics are computed as well.

    Raises:
        UserError: There is a mistake in ``task_labels``.
    """
    task, settings = choose_task(cfg, source), label_settings(cfg)
    hook = {'type': 'TaskLabelHook', 'task': task, 'out_dir': str(out_dir), **settings}
    with building(cfg):
        HOOKS.build(dict(hook))
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or ()), hook]
    if not measured:
        cfg.test_evaluator = dict(NOTHING_MEASURED)


def write_provenance(
    runner: JointRunner, task: str, args: argparse.Namespace, settings_hash: str
) -> None:
    """Write ``provenance.json`` beside the label maps that a test run has made.

    There is no date in it, so that labels made again are the same files. To be called in all
    processes; waits until all have written their maps.

    Args:
        runner: After the test.
        task: Of the maps.
        args: Of the test.
        settings_hash: What :func:`mmjoint.apis.config_hash.config_hash` gave for the test's config.
    """
    barrier()
    if not is_main_process():
        return
    dataset, uq = runner.test_dataloader.dataset, runner.cfg.get('uq')
    settings = {'threshold': 0.5, **label_settings(runner.cfg)}
    meta, environment = read_meta(args.checkpoint), collect_environment()
    names = {
        sample_name(dataset.get_data_info(index)['img_path']): None for index in range(len(dataset))
    }
    members = (uq or {}).get('checkpoints') or ()
    atomic_write_json(
        Path(args.output_dir) / PROVENANCE,
        {
            'task': task,
            'test_set': args.test_set,
            'images': len(names),
            'pixels': _count(Path(args.output_dir), names, dataset.metainfo['tasks'][task]),
            'checkpoint': {
                'file': str(args.checkpoint),
                'sha256': sha256_file(args.checkpoint),
                'sha256_of_weights': hash_weights(args.checkpoint),
                **{key: meta.get(key) for key in ('epoch', 'iter', 'seed')},
            },
            'config': {'file': str(args.config), 'sha256_of_content': settings_hash},
            'threshold': settings.pop('threshold'),
            'filter': {key: settings.get(key) for key in SETTINGS if key != 'threshold'},
            'estimator': None if uq is None else settings_of(uq),
            'members': [{'file': str(file), 'sha256': sha256_file(file)} for file in members],
            'versions': {
                'mmjoint': environment['mmjoint']['version'],
                'python': environment['python'],
                **environment['packages'],
            },
        },
    )


def _count(folder: Path, names: Mapping[str, None], channels: Mapping[str, Any]) -> dict[str, int]:
    """Count the pixels of each channel, of the background and of those that tell nothing."""
    by_value = np.zeros(NO_LABEL + 1, np.int64)
    for name in names:
        labels = read_index_png(folder / f'{name}.png')
        by_value += np.bincount(labels.ravel(), minlength=len(by_value))
    return {
        **{channel: int(by_value[list(values)].sum()) for channel, values in channels.items()},
        'background': int(by_value[0]),
        'without a label': int(by_value[NO_LABEL]),
        'all': int(by_value.sum()),
    }
