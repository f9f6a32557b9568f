"""Test a checkpoint: the program behind ``tools/test.py``."""

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from mmjoint.engine import JointRunner
from mmjoint.engine.checkpoint import read_checkpoint, read_meta
from mmjoint.engine.hooks import PredictionVolumeHook
from mmjoint.evaluation.eval_names import resolve_names, restrict_evaluator, select_metrics
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_json

from .config import building
from .config_hash import config_hash
from .explain import add_explain_arguments, explanations_from_args, place_explainer
from .failures import is_launched, main_speaks, speaking_once
from .named_sets import add_test_set_arguments, use_test_set
from .running import (
    add_common_arguments,
    build_metrics,
    build_runner,
    check_data,
    join_processes,
    prepare_config,
    use_deterministic_settings,
)
from .task_files import tasks_of
from .task_labels import (
    PROVENANCE,
    add_label_arguments,
    check_label_arguments,
    choose_task,
    place_label_hook,
    write_provenance,
)
from .temperatures import doubts, with_temperatures
from .uncertainty import (
    adapt_dataset,
    adapt_metrics,
    add_uq_arguments,
    choose_uq,
    place_estimator,
    settings_of,
    uq_from_args,
)
from .volume_writer import SampleWriter


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``tools/test.py``."""
    parser = argparse.ArgumentParser(prog='tools/test.py', description='Test a checkpoint.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of the model that the config describes')
    add_common_arguments(parser)
    add_test_set_arguments(parser)
    parser.add_argument(
        '--eval',
        nargs='+',
        metavar='NAME',
        help='compute and print these only: mIoU mDice ASSD AUC ACC F1 ECE ...',
    )
    add_uq_arguments(parser)
    add_explain_arguments(parser)
    add_label_arguments(parser)
    parser.add_argument(
        '--temperature',
        metavar='FILE',
        help='scale the probabilities by what tools/calibrate.py has fitted; without --uq and '
        "the config's uq the estimator is softmax",
    )
    parser.add_argument('--out', metavar='FILE', help='also write the metrics to this .json file')
    parser.add_argument('--show-dir', metavar='DIR', help='draw every test sample into DIR')
    parser.add_argument(
        '--pred-dir',
        metavar='DIR',
        help='write the predictions and their maps of uncertainty into DIR: volumes as NIfTI in '
        'the geometry of the raw files, masks of images as PNG at their original size, tasks as '
        'label maps and probabilities in the frame of the raw file',
    )
    parser.add_argument(
        '--report', action='store_true', help='write an HTML report beside the metrics'
    )
    return parser.parse_args(argv)


def prepare(args: argparse.Namespace) -> Config:
    """Make the config of a test from the command line, and check it without side effects.

    Raises:
        UserError: If there is a mistake in it.
    """
    if args.out is not None and Path(args.out).suffix != '.json':
        raise UserError(f'--out {args.out}: expected a name that ends in .json')
    if args.pred_dir is not None:
        _check_folder(Path(args.pred_dir))
    check_label_arguments(args)
    cfg = prepare_config(args, training=False)
    read_checkpoint(args.checkpoint)
    use_test_set(cfg, args.test_set)
    _choose_estimator(cfg, args)
    cfg.explain = explanations_from_args(cfg, args)
    if args.eval is not None:
        with building(cfg):
            resolve_names(build_metrics(cfg.test_evaluator), args.eval)
    if args.show_dir is not None:
        hooks = dict(cfg.get('default_hooks') or {})
        drawing = dict(hooks.get('prediction_images') or {'type': 'PredictionImageHook'})
        hooks['prediction_images'] = {**drawing, 'show_dir': args.show_dir}
        cfg.default_hooks = hooks
    if args.vis:
        place_label_hook(cfg, args.source, args.output_dir, measured=args.eval is not None)
    if args.report:
        _add_case_records(cfg)
    cfg.load_from, cfg.resume = None, False
    return cfg


def _check_folder(folder: Path) -> None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = 'cannot be written to' if there.is_dir() else 'is a file'
        raise UserError(
            f'--pred-dir {folder}: expected a folder for the predictions, found that {there} '
            f'{what}; choose another'
        )


def _choose_estimator(cfg: Config, args: argparse.Namespace) -> None:
    """Write the chosen estimator into the config, and let the data set serve it."""
    uq = uq_from_args(cfg, args)
    if args.temperature is not None:
        uq = with_temperatures(uq or choose_uq(cfg, 'softmax'), args.temperature)
    cfg.uq = uq
    if uq is not None:
        cfg.test_dataloader = {
            **cfg.test_dataloader,
            'dataset': adapt_dataset(cfg.test_dataloader.dataset, uq),
        }


def _add_case_records(cfg: Config) -> None:
    """Let the evaluator keep the cases that the report shows, with the config's regions."""
    evaluator = cfg.test_evaluator
    holder = evaluator if isinstance(evaluator, dict) and 'metrics' in evaluator else None
    metrics = evaluator['metrics'] if holder is not None else evaluator
    metrics = list(metrics) if isinstance(metrics, list | tuple) else [metrics]
    if any(metric.get('type') == 'CaseRecords' for metric in metrics):
        return
    unions = next((metric['unions'] for metric in metrics if metric.get('unions')), None)
    records: dict[str, Any] = {'type': 'CaseRecords'}
    if unions is not None:
        records['unions'] = unions
    metrics.append(records)
    if holder is not None:
        cfg.test_evaluator = {**holder, 'metrics': metrics}
    else:
        cfg.test_evaluator = metrics


def run(cfg: Config, args: argparse.Namespace) -> dict[str, float]:
    """Test as a checked config says and write the results.

    Returns:
        The metrics, chosen by ``--eval`` where given.
    """
    use_deterministic_settings(cfg)
    join_processes(cfg)
    settings_hash = config_hash(cfg, without=('custom_hooks',))  # they name the output folder
    uq, notes = cfg.get('uq'), []
    if uq is not None:
        cfg.test_evaluator, notes = adapt_metrics(cfg.test_evaluator, uq)
    runner = build_runner(cfg)
    runner.load_checkpoint(args.checkpoint, strict=True)
    place_estimator(runner, uq)
    place_explainer(runner, cfg.explain)
    for line in notes:
        runner.logger.info(line)
    if args.temperature is not None and is_main_process():
        for line in doubts(uq, args.temperature, args.checkpoint):
            runner.logger.warning(line)
    if args.pred_dir is not None:
        writer = SampleWriter(args.pred_dir, tasks_of(runner.model))
        runner.register_hook(PredictionVolumeHook(writer))
    with building(cfg):
        evaluator = runner.test_loop.evaluator
    if args.eval is not None:
        restrict_evaluator(evaluator, args.eval)
    case_dir = Path(runner.log_dir) / 'cases'
    for metric in evaluator.metrics:
        if args.report and type(metric).__name__ == 'CaseRecords':
            metric.out_dir = str(case_dir)
    results = runner.test()
    if args.vis:
        write_provenance(runner, choose_task(cfg, args.source), args, settings_hash)
    if args.eval is not None:
        results = select_metrics(results, evaluator.metrics, args.eval)
    if is_main_process():
        _write_results(runner, results, args, case_dir)
    return results


def _plain(results: dict[str, float]) -> dict[str, float | None]:
    """Give results as JSON knows them: what is not defined (NaN) or not finite becomes null."""
    return {
        key: float(value) if math.isfinite(float(value)) else None for key, value in results.items()
    }


def _write_results(
    runner: JointRunner, results: dict[str, float], args: argparse.Namespace, case_dir: Path
) -> None:
    plain: dict[str, Any] = _plain(results)
    if args.eval is not None:  # without it the metrics' own tables show the results
        for key, value in plain.items():
            runner.logger.info(f'{key}: {"not defined" if value is None else f"{value:.4f}"}')
    uq = runner.cfg.get('uq')
    if uq is not None:
        plain['uq'] = settings_of(uq)
        runner.logger.info(f'estimator: {_described(uq)}')
    files = [Path(runner.log_dir) / 'metrics.json']
    if args.out is not None:
        files.append(Path(args.out))
    for file in files:
        atomic_write_json(file, plain)
        runner.logger.info(f'metrics are in {file}')
    if args.show_dir is not None:
        runner.logger.info(f'drawings are in {args.show_dir}')
    if args.pred_dir is not None:
        runner.logger.info(f'predictions are in {args.pred_dir}')
    if args.vis:
        runner.logger.info(f'label maps are in {args.output_dir}, with {PROVENANCE}')
    if args.report:
        runner.logger.info(f'report is in {_write_report(runner, results, args, case_dir)}')


def _described(uq: dict[str, Any]) -> str:
    settings = settings_of(uq)
    name = settings.pop('type')
    return f'{name} ({", ".join(f"{key}={value!r}" for key, value in settings.items())})'


def _write_report(
    runner: JointRunner, results: dict[str, float], args: argparse.Namespace, case_dir: Path
) -> Path:
    # Only a test with --report needs matplotlib's figures.
    from mmjoint.visualization.report import write_report

    meta = read_meta(args.checkpoint)
    name = Path(args.config).stem
    info = {
        'config': args.config,
        'checkpoint': args.checkpoint,
        'trained epochs': meta.get('epoch'),
        'trained iterations': meta.get('iter'),
        'training seed': meta.get('seed'),
        'model': runner.model_name,
        'estimator': _described(runner.cfg.uq) if runner.cfg.get('uq') else None,
        'test samples': len(runner.test_dataloader.dataset),
        'date': time.strftime('%Y-%m-%d %H:%M'),
    }
    return write_report(
        Path(runner.log_dir) / 'report.html',
        case_dir,
        results,
        title=name,
        train_log=_training_scalars(Path(args.checkpoint).parent),
        info={key: str(value) for key, value in info.items() if value is not None},
    )


def _training_scalars(folder: Path) -> Path | None:
    """Give the work folder that a checkpoint lies in, if a training left its scalars there."""
    return folder if any(folder.glob('*/vis_data/scalars.json')) else None


def main(argv: list[str] | None = None) -> None:
    """Test from the command line."""
    args = parse_args(argv)
    with speaking_once():
        with main_speaks(args.launcher):
            cfg = prepare(args)
            if not is_launched():
                check_data(cfg, training=False)
        run(cfg, args)
