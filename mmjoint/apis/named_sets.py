"""Test on another set than that of a config's test loader, chosen by its name."""

import argparse
from collections.abc import Mapping

from mmengine.config import Config

from mmjoint.utils.errors import UserError

from .checks import check_config, suggestion

NOTHING_MEASURED = {'type': 'JointEvaluator', 'metrics': []}


def add_test_set_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a test set."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        '--test-set',
        metavar='NAME',
        help="test on this one of the config's test_sets, in place of its test_dataloader's set",
    )
    group.add_argument(
        '--OD',
        dest='test_set',
        action='store_const',
        const='OD',
        help='short for --test-set OD: the optic disc alone, where a config has such a set',
    )


def use_test_set(cfg: Config, name: str | None) -> None:
    """Put a named test set in the place of the one that a config tests on.

    Args:
        cfg: Its ``test_sets`` maps names to ``dict(dataset=..., evaluator=...)``; without an
            evaluator nothing is measured. Is changed.
        name: Which one; ``None`` leaves all as it is.

    Raises:
        UserError: There is no such set, or there are mistakes in it.
    """
    if name is None:
        return
    sets = {key: own for key, own in (cfg.get('test_sets') or {}).items() if own is not None}
    if name not in sets:
        raise UserError(
            f'--test-set {name}: test_sets of {cfg.filename} has no such set'
            f'{suggestion(name, set(sets)) or "; it has none"}'
        )
    chosen = sets[name]
    where = f'{cfg.filename}: test_sets.{name}'
    known = {'dataset', 'evaluator'}
    if not isinstance(chosen, Mapping) or not isinstance(chosen.get('dataset'), Mapping):
        raise UserError(f'{where}: expected a dict with a dataset, found {chosen!r}')
    for key in set(chosen) - known:
        raise UserError(f'{where}.{key} is unknown{suggestion(key, known)}')
    cfg.test_dataloader = {**cfg.test_dataloader, 'dataset': chosen['dataset']}
    cfg.test_evaluator = chosen.get('evaluator') or dict(NOTHING_MEASURED)
    check_config(cfg, training=False)
