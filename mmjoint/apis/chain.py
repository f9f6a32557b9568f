"""What a chain of stages is: its config, read and checked before anything is started."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmjoint.evaluation.eval_names import resolve_names
from mmjoint.utils.errors import UserError

from .checks import check_config, suggestion
from .config import building, load_config
from .config_hash import config_hash
from .named_sets import use_test_set
from .running import build_metrics, check_data, prepare_config
from .task_labels import SETTINGS, place_label_hook
from .uncertainty import adapt_dataset, choose_uq

TRAIN, LABEL, TEST = 'train', 'label', 'test'
_COMMON = {'type', 'config', 'options', 'inputs', 'seed'}
_KEYS = {
    TRAIN: _COMMON,
    LABEL: _COMMON | {'checkpoint', 'test_set', 'source', 'uq', *SETTINGS},
    TEST: _COMMON | {'checkpoint', 'test_set', 'eval', 'uq'},
}
# Keys of a config below which its data sets stand.
_DATA = ('train_dataloader', 'val_dataloader', 'test_dataloader', 'test_sets')


@dataclass(frozen=True)
class Stage:
    """One stage of a chain.

    Attributes:
        name: Of the stage, and of its folder.
        kind: ``train``, ``label`` or ``test``.
        config: File of the config that it builds on.
        options: Overrides of the config, by dotted key.
        inputs: Dotted keys of the config that get the path of what an earlier stage made.
        seed: Of everything that is drawn.
        checkpoint: Name of an earlier stage that trains, or a file; ``None`` in a training.
        settings: What else the stage sets: ``test_set``, ``source``, ``eval``, ``uq``,
            ``threshold`` and so on, as far as they are set.
    """

    name: str
    kind: str
    config: str
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    seed: int
    checkpoint: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Config:
        """Give the stage's config, without its inputs.

        Raises:
            UserError: The file or an option is wrong.
        """
        return self._with_settings(load_config(self.config, self.options))

    def prepare(self) -> Config:
        """Give the stage's config as its run will have it, checked, without its inputs.

        Raises:
            UserError: There is a mistake in it.
        """
        training = self.kind == TRAIN
        args = Namespace(
            config=self.config, cfg_options=self.options, work_dir=None, launcher='none'
        )
        cfg = self._with_settings(prepare_config(args, training=training))
        check_config(cfg, training=training)
        if not training:
            use_test_set(cfg, self.settings.get('test_set'))
            uq = choose_uq(cfg, None)
            if self.settings.get('eval') is not None:
                with building(cfg):
                    resolve_names(build_metrics(cfg.test_evaluator), self.settings['eval'])
            if uq is not None:
                dataset = adapt_dataset(cfg.test_dataloader.dataset, uq)
                cfg.test_dataloader = {**cfg.test_dataloader, 'dataset': dataset}
        if self.kind == LABEL:
            place_label_hook(cfg, self.settings.get('source'), '')
        return cfg

    def _with_settings(self, cfg: Config) -> Config:
        cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': self.seed}
        uq = self.settings.get('uq')
        if uq is not None:
            cfg.uq = {'type': uq} if isinstance(uq, str) else uq
        own = {key: self.settings[key] for key in SETTINGS if key in self.settings}
        if own:
            cfg.task_labels = {**(cfg.get('task_labels') or {}), **own}
        return cfg


def read_chain(path: str, options: Mapping[str, Any] | None = None) -> dict[str, Stage]:
    """Read the config of a chain.

    Args:
        path: A config with ``stages``: name -> settings, in the order in which they run; see
            ``docs/stages.md``.
        options: Overrides, by dotted key.

    Returns:
        The stages by name.

    Raises:
        UserError: It is no such config, or a stage is wrong. What the configs of the stages
            describe is not checked here, see :func:`check_stage`.
    """
    cfg = load_config(path, options)
    content = cfg.to_dict()
    described, defaults = content.get('stages'), content.get('defaults') or {}
    if not isinstance(described, Mapping) or not described:
        raise UserError(f'{path}: expected a chain, a config with stages=dict(...), found none')
    for key in set(content) - {'stages', 'defaults'}:
        raise UserError(f'{path}: {key} is unknown{suggestion(key, {"stages", "defaults"})}')
    _check_defaults(defaults, path)
    stages: dict[str, Stage] = {}
    for name, own in described.items():
        if own is not None:  # as a config leaves out what its base has
            stages[name] = _read_stage(name, own, defaults, stages, path)
    return stages


def _check_defaults(defaults: Any, path: str) -> None:
    if not isinstance(defaults, Mapping) or not all(
        isinstance(own, Mapping) for own in defaults.values()
    ):
        raise UserError(f'{path}: defaults: expected a dict of settings by type, found {defaults}')
    for kind, own in defaults.items():
        if kind not in _KEYS:
            raise UserError(f'{path}: defaults.{kind}{_expected(_KEYS)}')
        for key in own:
            if key not in _KEYS[kind]:
                raise UserError(f'{path}: defaults.{kind}.{key}{_expected(_KEYS[kind], key)}')


def _expected(known: Any, word: str = '') -> str:
    return f' is unknown{suggestion(word, set(known))}'


def _read_stage(
    name: str, own: Any, defaults: Mapping, before: Mapping[str, Stage], path: str
) -> Stage:
    where = f'{path}: stages.{name}'
    if not isinstance(own, Mapping) or own.get('type') not in _KEYS:
        raise UserError(
            f'{where}: expected a dict whose type is one of {", ".join(_KEYS)}, found {own!r}'
        )
    if Path(name).name != name or name.startswith('.'):
        raise UserError(f'{where}: expected a name that a folder may have, found {name!r}')
    kind = own['type']
    for key in own:
        if key not in _KEYS[kind]:
            raise UserError(f'{where}.{key}{_expected(_KEYS[kind], key)}')
    given = {**defaults.get(kind, {}), **own}
    given = {key: value for key, value in given.items() if value is not None}
    options = _flat(given.get('options') or {})
    inputs = given.get('inputs') or {}
    for key, source in inputs.items():
        if before.get(source) is None or before[source].kind == TEST:
            raise UserError(
                f'{where}.inputs: {key}: expected the name of an earlier stage that trains or '
                f'labels, found {source!r}{suggestion(str(source), set(before))}'
            )
    checkpoint, config = given.get('checkpoint'), given.get('config')
    further = sorted(_KEYS[kind] - _COMMON - {'checkpoint'})
    maker = before.get(checkpoint)
    if kind != TRAIN and not (maker.kind == TRAIN if maker else Path(str(checkpoint)).is_file()):
        trained = {other.name for other in before.values() if other.kind == TRAIN}
        raise UserError(
            f'{where}.checkpoint: expected the name of an earlier stage that trains, or a file, '
            f'found {checkpoint!r}{suggestion(str(checkpoint), trained)}'
        )
    if config is not None:
        config = str(Path(path).parent / config)
    elif maker is not None:
        config, options = maker.config, {**maker.options, **options}
    else:
        raise UserError(f'{where}.config is missing: which config does the stage run?')
    seed = given.get('seed')
    if seed is None:
        own_seed = (load_config(config, options).get('randomness') or {}).get('seed')
        seed = maker.seed if maker else own_seed
    return Stage(
        name=name,
        kind=kind,
        config=config,
        options=options,
        inputs=inputs,
        seed=0 if seed is None else seed,
        checkpoint=checkpoint,
        settings={key: given[key] for key in further if key in given},
    )


def _flat(options: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Write nested dicts as dotted keys, so that they are merged into what a config has."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping) and value and '_delete_' not in value:
            flat.update(_flat(value, f'{prefix}{key}.'))
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def check_stage(stage: Stage) -> str:
    """Find the mistakes of a stage before any stage is run.

    Data that an earlier stage has yet to make are not looked for.

    Returns:
        The hash of all that its config says, without its inputs.

    Raises:
        UserError: There is one.
    """
    training = stage.kind == TRAIN
    try:
        cfg = stage.prepare()
        if not any(key.startswith(_DATA) for key in stage.inputs):
            check_data(cfg, training=training)
    except UserError as error:
        raise UserError(f'stage {stage.name}: {error}') from error
    return config_hash(cfg)
