"""Run a chain of trainings, label makings and tests: the program behind ``tools/run_stages.py``.

Each stage works in ``<work folder>/<name>.unfinished`` and gets its name when all is done, with a
record of what it was made from and of what it made. So the command can be killed at any moment and
called again: finished stages are kept, a training goes on, other stages begin anew.
"""

import argparse
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmjoint import __version__
from mmjoint.engine.checkpoint import (
    find_resumable,
    hash_weights,
    read_meta,
    training_is_finished,
)
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_json, atomic_write_text, sha256_file

from . import launch
from .chain import LABEL, TEST, TRAIN, Stage, check_stage, read_chain
from .config import OptionsAction, load_config
from .config_hash import hash_of
from .results_table import markdown_comparison
from .task_labels import PROVENANCE

_STARTED = 'inputs.json'
_FINISHED = 'finished.json'
_METRICS = 'metrics.json'
_LEFT_OVER = re.compile(r'\..+\.[a-z0-9_]{8}(\.\w+)?')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``tools/run_stages.py``."""
    parser = argparse.ArgumentParser(
        prog='tools/run_stages.py',
        description='Run a chain of stages (trainings, pseudo labels, tests), or go on with one '
        'that was interrupted.',
    )
    parser.add_argument('config', help='config of the chain')
    parser.add_argument(
        'num_processes', metavar='N', nargs='?', default='1', help='processes on this machine; 1'
    )
    parser.add_argument(
        '--work-dir', metavar='DIR', help='folder of all stages; work_dirs/<config name>'
    )
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (CUDA only)')
    parser.add_argument(
        '--deterministic', action='store_true', help='use algorithms that repeat exactly'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='override keys of the chain: defaults.label.min_confidence=0.9 '
        'stages.stage1.options.max_iters=100',
    )
    return parser.parse_args(argv)


def _say(text: str) -> None:
    print(f'== {text}', flush=True)


class _Chain:
    """A chain in its work folder.

    Args:
        args: The command line.

    Raises:
        UserError: There is a mistake in it, in the chain or in one of its stages.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        launch.parse_args(['train', args.num_processes])
        if os.environ.get('NNODES', '1') not in ('', '1'):
            raise UserError('NNODES: a chain runs on one machine; start its stages one by one')
        self.args = args
        self.stages = read_chain(args.config, args.cfg_options)
        self.work_dir = Path(args.work_dir or Path('work_dirs') / Path(args.config).stem)
        self.contents = {name: check_stage(stage) for name, stage in self.stages.items()}
        for name in self.stages:
            folder = self.folder(name)
            if folder.exists() and _read(folder / _FINISHED) is None:
                raise UserError(
                    f'{folder}: expected a folder that a chain has made, with {_FINISHED}; choose '
                    'another --work-dir'
                )

    def folder(self, name: str) -> Path:
        """Where a stage lies when it is finished."""
        return self.work_dir / name

    def draft(self, name: str) -> Path:
        """Where it lies until then."""
        return self.work_dir / f'{name}.unfinished'

    def record(self, name: str) -> dict[str, Any]:
        """What a finished stage tells about itself."""
        return _read(self.folder(name) / _FINISHED)

    def output(self, name: str) -> Path:
        """What a finished stage gives to others: a checkpoint, or a folder of label maps."""
        if self.stages[name].kind == LABEL:
            return self.folder(name)
        return self.folder(name) / self.record(name)['checkpoint']

    def checkpoint(self, stage: Stage) -> Path:
        """The checkpoint that a stage labels or tests with."""
        if stage.checkpoint in self.stages:
            return self.output(stage.checkpoint)
        return Path(stage.checkpoint)

    def made_from(self, stage: Stage) -> dict[str, Any]:
        """All that a stage's outcome hangs on, in plain values."""
        made: dict[str, Any] = {
            'type': stage.kind,
            'config': self.contents[stage.name],
            'settings': {key: _plain(value) for key, value in stage.settings.items()},
            'seed': stage.seed,
            'inputs': {key: self.record(name)['output'] for key, name in stage.inputs.items()},
            'deterministic': self.args.deterministic,
            'version': __version__,
        }
        if stage.kind == TRAIN:
            # The batch grows with the processes.
            made.update(processes=int(self.args.num_processes), amp=self.args.amp)
        else:
            made['checkpoint'] = hash_weights(self.checkpoint(stage))
        return made


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name what differs between two records of what a stage is made from."""
    return ', '.join(key for key in {**before, **now} if before.get(key) != now.get(key))


# One stage ----------------------------------------------------------------------------------


def _run_stage(chain: _Chain, stage: Stage) -> None:
    """Bring a stage to its end, from wherever the work folder says."""
    folder, draft = chain.folder(stage.name), chain.draft(stage.name)
    made_from = chain.made_from(stage)
    if folder.exists():
        record = chain.record(stage.name)
        why = _changed(record['made_from'], made_from)
        if not why and record['output'] == _hash_output(stage, folder, record):
            _say(f'{stage.name}: finished before')
            return
        aside = _aside(folder)
        folder.rename(aside)
        _say(
            f'{stage.name}: runs anew, since {f"other than before: {why}" if why else "its files"}'
            f'{"" if why else " were changed"}; what was there is now {aside}'
        )
    started = _read(draft / _STARTED)
    if draft.exists() and (stage.kind != TRAIN or started != made_from):
        if started not in (None, made_from):
            _say(
                f'{stage.name}: begins anew, since other than at its interrupted start: '
                f'{_changed(started, made_from)}'
            )
        if stage.kind == TRAIN and started is not None:
            draft.rename(_aside(folder))  # hours may be in it
        else:
            shutil.rmtree(draft)
    draft.mkdir(parents=True, exist_ok=True)
    atomic_write_json(draft / _STARTED, made_from)
    record = _WORK[stage.kind](chain, stage, draft)
    _sweep(draft.rglob('.*'))
    record = {'made_from': made_from, **record}
    record['output'] = _hash_output(stage, draft, record)
    (draft / _STARTED).unlink()
    atomic_write_json(draft / _FINISHED, record)
    draft.rename(folder)
    _say(f'{stage.name}: done, in {folder}')


def _sweep(paths: Iterable[Path]) -> None:
    """Remove temporary files that processes have left which were killed while they wrote."""
    for path in list(paths):
        if _LEFT_OVER.fullmatch(path.name) and path.is_file():
            path.unlink()


def _aside(folder: Path) -> Path:
    """A name that is still free, for a folder that is to be replaced."""
    number = 1
    while (aside := folder.with_name(f'{folder.name}.before-{number}')).exists():
        number += 1
    return aside


def _hash_output(stage: Stage, folder: Path, record: Mapping[str, Any]) -> str | None:
    """Tell by one hash what a stage has made; None if it is not there."""
    if stage.kind == TRAIN:
        file = folder / record['checkpoint']
        return hash_weights(file) if file.is_file() else None
    names = [_METRICS] if stage.kind == TEST else sorted(p.name for p in folder.glob('*.png'))
    files = [folder / name for name in names]
    if not all(file.is_file() for file in files):
        return None
    return hash_of([(file.name, sha256_file(file)) for file in files])


def _write_config(chain: _Chain, stage: Stage) -> Path:
    """Write the stage's whole config, with its inputs, where a run can read it."""
    cfg = stage.load()
    for key, name in stage.inputs.items():
        cfg.merge_from_dict({key: str(chain.output(name).resolve())})
    file = chain.work_dir / 'configs' / stage.name / Path(stage.config).name
    atomic_write_text(file, cfg.pretty_text)
    return file


def _train(chain: _Chain, stage: Stage, draft: Path) -> dict[str, Any]:
    config = _write_config(chain, stage)
    train_cfg = load_config(str(config)).get('train_cfg') or {}
    path, _ = find_resumable(draft)
    if path is None or not training_is_finished(path, train_cfg):
        words = [str(config), '--work-dir', str(draft), '--seed', str(stage.seed)]
        words += [f'--{name}' for name in ('amp', 'deterministic') if getattr(chain.args, name)]
        if path is not None:
            words.append('--resume')
        _say(f'{stage.name}: {f"training goes on from {path}" if path else "training"}')
        launch.main(['train', chain.args.num_processes, *words])
        path, warnings = find_resumable(draft)
        if path is None or not training_is_finished(path, train_cfg):
            raise UserError(
                f'{draft}: expected the checkpoint of the end of the training, found '
                f'{path.name if path else "none"} {" ".join(warnings)}'.rstrip()
            )
    # The run's own copy names the unfinished folder, and tells whether it was resumed.
    atomic_write_text(draft / config.name, config.read_text(encoding='utf-8'))
    return {'checkpoint': path.name}


def _label(chain: _Chain, stage: Stage, draft: Path) -> dict[str, Any]:
    words = ['--vis', '--output_dir', str(draft)]
    if 'source' in stage.settings:
        words += ['--source', stage.settings['source']]
    _test_run(chain, stage, draft, words)
    (draft / _METRICS).unlink()  # nothing is measured
    return {'checkpoint': str(stage.checkpoint), 'provenance': _read(draft / PROVENANCE)}


def _test(chain: _Chain, stage: Stage, draft: Path) -> dict[str, Any]:
    words = []
    if 'eval' in stage.settings:
        words += ['--eval', *stage.settings['eval']]
    _test_run(chain, stage, draft, words)
    # One file for both, so that they cannot be of two different tests.
    return {'checkpoint': str(stage.checkpoint), 'metrics': _read(draft / _METRICS)}


def _test_run(chain: _Chain, stage: Stage, draft: Path, more: Sequence[str]) -> None:
    checkpoint = chain.checkpoint(stage)
    _say(f'{stage.name}: {"labels" if stage.kind == LABEL else "testing"} by {checkpoint}')
    words = [str(_write_config(chain, stage)), str(checkpoint), '--work-dir', str(draft / 'run')]
    words += ['--out', str(draft / _METRICS)]
    if 'test_set' in stage.settings:
        words += ['--test-set', stage.settings['test_set']]
    if chain.args.deterministic:
        words += ['--cfg-options', 'randomness.deterministic=True']
    launch.main(['test', chain.args.num_processes, *words, *more])


_WORK: dict[str, Callable[[_Chain, Stage, Path], dict[str, Any]]] = {
    TRAIN: _train,
    LABEL: _label,
    TEST: _test,
}


# Results ------------------------------------------------------------------------------------


def _columns(chain: _Chain) -> dict[str, dict[str, Any]]:
    """Sort the measures of all tests into columns: one for each checkpoint.

    Where two tests of a checkpoint give the same measure, as with different estimators, the later
    test has a column of its own.
    """
    columns: dict[str, dict[str, Any]] = {}
    for stage in chain.stages.values():
        if stage.kind != TEST:
            continue
        metrics = dict(chain.record(stage.name)['metrics'])
        metrics.pop('uq', None)
        name = stage.checkpoint if stage.checkpoint in chain.stages else Path(stage.checkpoint).name
        if set(columns.get(name, ())) & set(metrics):
            name = f'{name} ({stage.name})'
        columns.setdefault(name, {}).update(metrics)
    return columns


def _describe(chain: _Chain, stage: Stage) -> dict[str, Any]:
    """Tell in plain values what a finished stage has made."""
    record = chain.record(stage.name)
    told = {'type': stage.kind, 'output': record['output']}
    if stage.kind == TRAIN:
        meta = read_meta(chain.output(stage.name))
        told.update(
            checkpoint=record['checkpoint'], **{k: meta.get(k) for k in ('epoch', 'iter', 'seed')}
        )
    else:
        told['checkpoint'] = record['checkpoint']
    if stage.kind == LABEL:
        told.update({key: record['provenance'][key] for key in ('task', 'images', 'pixels')})
    return told


def _write_results(chain: _Chain) -> None:
    """Write ``results.json`` and ``results.md`` of all stages."""
    columns = _columns(chain)
    told = {name: _describe(chain, stage) for name, stage in chain.stages.items()}
    content = {'chain': chain.args.config, 'stages': told, 'results': columns}
    atomic_write_json(chain.work_dir / 'results.json', content)
    parts = [f'# Results of {Path(chain.args.config).stem}\n']
    labels = {name: one for name, one in told.items() if one['type'] == LABEL}
    if labels:
        parts += ['## Label maps\n', _label_table(labels)]
    if columns:
        parts += ['## Tests\n', markdown_comparison(columns)]
    atomic_write_text(chain.work_dir / 'results.md', '\n'.join(parts))


def _label_table(labels: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ['| stage | task | made by | images | pixels |', '| --- | --- | --- | --- | --- |']
    for name, one in labels.items():
        pixels = dict(one['pixels'])
        whole = max(pixels.pop('all'), 1)
        shares = ', '.join(f'{key} {count / whole:.2%}' for key, count in pixels.items())
        lines.append(
            f'| {name} | {one["task"]} | {one["checkpoint"]} | {one["images"]} | {shares} |'
        )
    return '\n'.join(lines) + '\n'


def main(argv: list[str] | None = None) -> None:
    """Run a chain from the command line."""
    args = parse_args(argv)
    chain = _Chain(args)
    for stage in chain.stages.values():
        _run_stage(chain, stage)
    _write_results(chain)
    _sweep([*chain.work_dir.glob('.*'), *(chain.work_dir / 'configs').rglob('.*')])
    print((chain.work_dir / 'results.md').read_text(encoding='utf-8'), flush=True)
    _say(f'results are in {chain.work_dir / "results.json"} and {chain.work_dir / "results.md"}')
