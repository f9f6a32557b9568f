"""Choose an estimator of the uncertainty and put it around a built model."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmjoint.models.joint import BaseJointModel
from mmjoint.models.uncertainty import UncertaintyEstimator
from mmjoint.registry import UNCERTAINTY
from mmjoint.utils.errors import UserError

from .checks import suggestion


def uq_names() -> list[str]:
    """The names that ``--uq`` accepts."""
    UNCERTAINTY.import_from_location()
    return sorted(name for name in UNCERTAINTY.module_dict if name.islower())


def _look_up(name: Any) -> type[UncertaintyEstimator] | None:
    UNCERTAINTY.import_from_location()
    return UNCERTAINTY.module_dict.get(name) if isinstance(name, str) else None


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
    known = set(inspect.signature(estimator.__init__).parameters) - {'self', 'model'}
    for key in set(uq) - {'type'} - known:
        raise UserError(f'{where} {name}: no such setting: {key!r}{suggestion(key, known)}')
    return uq


def adapt_pipeline(
    pipeline: Sequence[Mapping[str, Any]], uq: Mapping[str, Any] | None
) -> list[Mapping[str, Any]]:
    """Give the test pipeline that an estimator needs; see ``UncertaintyEstimator``."""
    if uq is None:
        return list(pipeline)
    return _look_up(uq['type']).adapt_pipeline(pipeline, uq)


def build_estimator(uq: Mapping[str, Any], model: BaseJointModel) -> UncertaintyEstimator:
    """Put an estimator around a built model, in evaluation mode on the model's device.

    Args:
        uq: What :func:`choose_uq` gave.
        model: The model, its weights loaded.

    Raises:
        UserError: If a setting is impossible, or the estimator cannot work with this model.
    """
    try:
        estimator = UNCERTAINTY.build({**uq, 'model': model})
    except (TypeError, ValueError) as error:
        raise UserError(f'uncertainty estimator {uq["type"]}: {error}') from error
    return estimator.eval()
