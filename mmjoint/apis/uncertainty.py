"""Choose an estimator of the uncertainty and put it around a built model."""

import argparse
import copy
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import is_model_wrapper

from mmjoint.engine import JointRunner
from mmjoint.engine.checkpoint import load_weights, read_checkpoint
from mmjoint.models.joint import InferringModel
from mmjoint.models.uncertainty import UncertaintyEstimator
from mmjoint.registry import METRICS, UNCERTAINTY
from mmjoint.utils.errors import UserError

from .checks import suggestion

_FLAGS = {'samples': 'num_samples', 'seed': 'seed', 'members': 'checkpoints'}
_EVERYWHERE = 'predictive_entropy'  # measured by every estimator


def uq_names() -> list[str]:
    """The names that ``--uq`` accepts."""
    UNCERTAINTY.import_from_location()
    return sorted(name for name in UNCERTAINTY.module_dict if name.islower())


def _look_up(name: Any) -> type[UncertaintyEstimator] | None:
    UNCERTAINTY.import_from_location()
    return UNCERTAINTY.module_dict.get(name) if isinstance(name, str) else None


def same_estimator(name: Any, other: Any) -> bool:
    """Whether two names are those of one estimator, as ``tta`` and ``TestTimeAugmentation``."""
    return _look_up(name) is not None and _look_up(name) is _look_up(other)


def _parameters(estimator: type[UncertaintyEstimator]) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(estimator.__init__).parameters)
    return {name: p for name, p in parameters.items() if name not in ('self', 'model')}


def choose_uq(
    cfg: Config, name: str | None, options: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Give the settings of the estimator that a command line or a config asks for.

    Args:
        cfg: ``uq`` is the config's own estimator, ``dict(type=NAME, ...)`` or None;
            ``uq_options`` maps names to the settings that these get in this config.
        name: What ``--uq`` gave: a name, or None for the config's own.
        options: Settings that go before those of the config; None values count as not given.

    Returns:
        A config of the estimator, or None: the model predicts as it does by itself.

    Raises:
        UserError: If there is no such estimator or it has no such setting.
    """
    own = dict(cfg.get('uq') or {})
    if name is None and not own:
        return None
    where = '--uq' if name is not None else f'{cfg.filename}: uq.type'
    name = name if name is not None else own.get('type')
    estimator = _look_up(name)
    if estimator is None:
        known = uq_names()
        raise UserError(
            f'{where}: expected one of {", ".join(known)}, found {name!r}'
            f'{suggestion(str(name), set(known))}'
        )
    if _look_up(own.get('type')) is not estimator:
        own = {}
    presets = {
        key: dict(value)
        for key, value in (cfg.get('uq_options') or {}).items()
        if _look_up(key) is estimator
    }
    uq = {key: value for preset in presets.values() for key, value in preset.items()}
    uq.update(own)
    uq.update({key: value for key, value in (options or {}).items() if value is not None})
    uq['type'] = name
    known = set(_parameters(estimator))
    for key in set(uq) - {'type'} - known:
        raise UserError(f'{where} {name}: no such setting: {key!r}{suggestion(key, known)}')
    return uq


def add_uq_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose an estimator and its settings."""
    parser.add_argument(
        '--uq',
        metavar='NAME',
        help="estimator of the uncertainty, in place of the config's own (uq): softmax, "
        'mc_dropout, tta, evidential, ensemble; further settings: --cfg-options '
        'uq_options.NAME.KEY=VALUE',
    )
    parser.add_argument(
        '--samples', type=int, metavar='N', help='number of passes, of mc_dropout (num_samples)'
    )
    parser.add_argument('--seed', type=int, metavar='S', help='seed of the passes, of mc_dropout')
    parser.add_argument(
        '--members',
        nargs='+',
        metavar='FILE',
        help='checkpoints of the further members, of ensemble',
    )


def uq_from_args(cfg: Config, args: argparse.Namespace) -> dict[str, Any] | None:
    """Give what :func:`choose_uq` gives for the options of :func:`add_uq_arguments`.

    Args:
        cfg: The config.
        args: With ``checkpoint``, the tested one, beside those options.

    Raises:
        UserError: If an option does not fit the estimator, or a member cannot be read.
    """
    given = {flag: getattr(args, flag) for flag in _FLAGS if getattr(args, flag, None) is not None}
    uq = choose_uq(cfg, args.uq)
    for flag in given:
        if uq is None:
            raise UserError(f'--{flag}: needs an estimator of the uncertainty; add --uq NAME')
        if _FLAGS[flag] not in _parameters(_look_up(uq['type'])):
            able = [n for n in uq_names() if _FLAGS[flag] in _parameters(_look_up(n))]
            raise UserError(
                f'--{flag}: the estimator {uq["type"]} has no such setting ({_FLAGS[flag]}); it is '
                f'one of {", ".join(able)}'
            )
    uq = choose_uq(cfg, args.uq, {_FLAGS[flag]: value for flag, value in given.items()})
    if uq is not None and 'checkpoints' in _parameters(_look_up(uq['type'])):
        _check_members(uq, args.checkpoint)
    return uq


def _check_members(uq: Mapping[str, Any], first: str) -> None:
    files = uq.get('checkpoints') or ()
    if isinstance(files, str) or not files:
        raise UserError(
            f'{uq["type"]}: expected a list of checkpoints of further members, found '
            f'{files or "none"}; name them by --members FILE ... or uq.checkpoints'
        )
    seen = {Path(first).resolve()}
    for file in files:
        if Path(file).resolve() in seen:
            raise UserError(f'{uq["type"]}: {file} is given twice; name each member once')
        seen.add(Path(file).resolve())
        read_checkpoint(file)


def adapt_pipeline(
    pipeline: Sequence[Mapping[str, Any]], uq: Mapping[str, Any] | None
) -> list[Mapping[str, Any]]:
    """Give the test pipeline that an estimator needs; see ``UncertaintyEstimator``."""
    if uq is None:
        return list(pipeline)
    return _look_up(uq['type']).adapt_pipeline(pipeline, uq)


def adapt_dataset(dataset: Mapping[str, Any], uq: Mapping[str, Any] | None) -> dict[str, Any]:
    """Adapt the pipelines of a data set's config, also of those inside it."""
    dataset = dict(dataset)
    if dataset.get('pipeline') is not None:
        dataset['pipeline'] = adapt_pipeline(dataset['pipeline'], uq)
    if isinstance(dataset.get('dataset'), Mapping):
        dataset['dataset'] = adapt_dataset(dataset['dataset'], uq)
    parts = dataset.get('datasets')
    if isinstance(parts, Mapping):
        dataset['datasets'] = {
            name: None if part is None else adapt_dataset(part, uq) for name, part in parts.items()
        }
    elif isinstance(parts, Sequence):
        dataset['datasets'] = [adapt_dataset(part, uq) for part in parts]
    return dataset


def measures_of(uq: Mapping[str, Any]) -> tuple[str, ...]:
    """The measures that an estimator fills."""
    return _look_up(uq['type']).measures if uq.get('spread', True) else (_EVERYWHERE,)


def settings_of(uq: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of an estimator with their defaults; plain values, ``type`` first."""
    parameters = _parameters(_look_up(uq['type']))
    settings = {key: uq.get(key, p.default) for key, p in sorted(parameters.items())}
    plain = {key: list(v) if isinstance(v, list | tuple) else v for key, v in settings.items()}
    return {'type': uq['type'], **plain}


def adapt_metrics(evaluator: Any, uq: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Let metrics of an uncertainty measure evaluate one that the estimator fills.

    A config names the measures of its model, such as the vacuity of an evidential one; another
    estimator chosen at test time may not have them. Such metrics evaluate the predictive entropy.

    Args:
        evaluator: Config of an evaluator or of its metrics.
        uq: What :func:`choose_uq` gave.

    Returns:
        The config to use, and a line for the log about each replacement.
    """
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        metrics, lines = adapt_metrics(evaluator['metrics'], uq)
        return {**evaluator, 'metrics': metrics}, lines
    single = isinstance(evaluator, Mapping)
    kept: list[Any] = []
    lines = []
    for metric in [evaluator] if single else evaluator:
        measure = _measure(metric)
        if measure is not None and measure not in measures_of(uq):
            lines.append(
                f'{metric["type"]}: {uq["type"]} does not give {measure}; {_EVERYWHERE} is '
                'evaluated in its place'
            )
            metric = {**metric, 'measure': _EVERYWHERE}
        if measure is None or not any(_same(metric, other) for other in kept):
            kept.append(metric)
    return (kept[0] if single else kept), lines


def _measure(metric: Mapping[str, Any]) -> str | None:
    """The measure that a metric evaluates, None for one that evaluates none."""
    kind = METRICS.get(metric.get('type', ''))
    parameter = None if kind is None else inspect.signature(kind.__init__).parameters.get('measure')
    return None if parameter is None else metric.get('measure', parameter.default)


def _same(metric: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    one, two = ({**each, 'measure': _measure(each)} for each in (metric, other))
    return one == two


def build_estimator(uq: Mapping[str, Any], model: InferringModel) -> UncertaintyEstimator:
    """Put an estimator around a built model, in evaluation mode on the model's device.

    Args:
        uq: What :func:`choose_uq` gave. Files in ``checkpoints`` are loaded into copies of the
            model.
        model: The model, its weights loaded.

    Raises:
        UserError: If a setting is impossible, the estimator cannot work with this model or a
            checkpoint belongs to another one.
    """
    if not isinstance(model, InferringModel):
        raise UserError(
            f'uncertainty estimator {uq["type"]}: expected a model of this toolbox '
            f'(InferringModel), found {type(model).__name__}'
        )
    settings = {key: value for key, value in uq.items() if key != 'type'}
    if settings.get('checkpoints'):
        settings['checkpoints'] = [_member(file, model) for file in settings['checkpoints']]
    try:
        estimator = _look_up(uq['type'])(model, **settings)
    except (TypeError, ValueError) as error:
        raise UserError(f'uncertainty estimator {uq["type"]}: {error}') from error
    return estimator.eval()


def _member(file: str, model: InferringModel) -> InferringModel:
    member = copy.deepcopy(model)
    load_weights(member, read_checkpoint(file), file, strict=True)
    return member


def place_estimator(runner: JointRunner, uq: Mapping[str, Any] | None) -> None:
    """Put an estimator in the place of a runner's model, whose weights are loaded, for testing."""
    if uq is None:
        return
    # Testing needs no data-parallel wrapper: each process predicts its own samples.
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    runner.model = build_estimator(uq, model)
