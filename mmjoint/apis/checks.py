"""Find the mistakes of a config before anything is built, and name the key."""

import difflib
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmjoint import registry
from mmjoint.engine.loops import resumable_loop_cfg
from mmjoint.functional.explanation_scale import EXPLANATIONS
from mmjoint.utils.errors import UserError

_RUNNER_KEYS = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
_FURTHER_KEYS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'explain',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
    'task_labels',
    'test_sets',
    'uq',
    'uq_options',
}
KNOWN_KEYS = _RUNNER_KEYS | _FURTHER_KEYS

# Which registry the types below a key belong to; other keys inherit.
_SECTION = {
    'model': registry.MODELS,
    'data_preprocessor': registry.MODELS,
    'model_wrapper_cfg': registry.MODEL_WRAPPERS,
    'optim_wrapper': registry.OPTIM_WRAPPERS,
    'param_scheduler': registry.PARAM_SCHEDULERS,
    'train_cfg': registry.LOOPS,
    'val_cfg': registry.LOOPS,
    'test_cfg': registry.LOOPS,
    'default_hooks': registry.HOOKS,
    'custom_hooks': registry.HOOKS,
    'visualizer': registry.VISUALIZERS,
    'log_processor': registry.LOG_PROCESSORS,
    'train_dataloader': registry.DATASETS,
    'val_dataloader': registry.DATASETS,
    'test_dataloader': registry.DATASETS,
    'val_evaluator': registry.METRICS,
    'test_evaluator': registry.METRICS,
}
_BELOW = {
    'pipeline': registry.TRANSFORMS,
    'transforms': registry.TRANSFORMS,
    'sampler': registry.DATA_SAMPLERS,
    'batch_sampler': registry.DATA_SAMPLERS,
    'collate_fn': registry.FUNCTIONS,
    'worker_init_fn': registry.FUNCTIONS,
    'optimizer': registry.OPTIMIZERS,
    'vis_backends': registry.VISBACKENDS,
    'metrics': registry.METRICS,
    'init_cfg': registry.WEIGHT_INITIALIZERS,
}
_DEFAULT_TYPE = {
    'optim_wrapper': 'OptimWrapper',
    'val_cfg': 'ValLoop',
    'test_cfg': 'TestLoop',
    'log_processor': 'LogProcessor',
}
# Keys that a builder takes off before it calls the constructor.
_BUILDER_KEYS = {
    'type',
    '_scope_',
    '_delete_',
    'constructor',
    'paramwise_cfg',
    'convert_to_iter_based',
}
_LOADER_KEYS = (set(inspect.signature(DataLoader.__init__).parameters) - {'self'}) | {
    'num_batch_per_epoch',
    'disable_subprocess_warning',
}
_PLAIN_SECTIONS = {
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
}
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def suggestion(word: str, known: Sequence[str] | set[str]) -> str:
    """Give ``'; did you mean A or B?'``, or else what there is (if that is short)."""
    close = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.6)
    if close:
        return f'; did you mean {" or ".join(close)}?'
    return f'; expected one of {", ".join(sorted(known))}' if 0 < len(known) <= 25 else ''


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Hold back log records below errors: looking up a wrong name warns in mmengine."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def check_config(cfg: Config, *, training: bool) -> None:
    """Check the keys, types and plain values of a config.

    Args:
        cfg: Whole config.
        training: Whether it is to train (else to test).

    Raises:
        UserError: Naming the first key that is wrong, and what was expected.
    """
    where = cfg.filename or 'config'
    _check_top_level(cfg, where)
    needed = ['model']
    needed += (
        ['train_dataloader', 'train_cfg', 'optim_wrapper']
        if training
        else ['test_dataloader', 'test_cfg', 'test_evaluator']
    )
    for key in needed:
        if cfg.get(key) is None:
            raise UserError(f'{where}: {key} is missing; this config cannot be used for it')
    if training:
        _check_validation_complete(cfg, where)
    for key in _LOADERS:
        if cfg.get(key) is not None:
            _check_loader(cfg[key], f'{where}: {key}')
    for key, allowed in _PLAIN_SECTIONS.items():
        for name in cfg.get(key) or ():
            if name not in allowed:
                raise UserError(f'{where}: {key}.{name} is unknown{suggestion(name, allowed)}')
    _check_seed((cfg.get('randomness') or {}).get('seed'), where)
    if cfg.get('train_cfg') is not None:
        _check_loop(cfg.train_cfg, f'{where}: train_cfg')
    with quiet_logging():
        for key, section_registry in _SECTION.items():
            if cfg.get(key) is not None:
                _check_section(cfg[key], key, section_registry, where)
        _check_uq(cfg, where)
    check_explanations(cfg.get('explain') or (), f'{where}: explain')


def check_explanations(names: Any, where: str) -> tuple[str, ...]:
    """Check which maps explain the image's class; gives them without repetition.

    Args:
        names: A name, or several.
        where: What is named in the message.

    Raises:
        UserError: There is no such map.
    """
    names = [names] if isinstance(names, str) else names
    _require(isinstance(names, list | tuple), where, 'a list of names', names)
    for name in names:
        if name not in EXPLANATIONS:
            raise UserError(
                f'{where}: expected {" and ".join(EXPLANATIONS)}, or one of them, found {name!r}'
            )
    return tuple(dict.fromkeys(names))


def _check_uq(cfg: Config, where: str) -> None:
    uq, options = cfg.get('uq'), cfg.get('uq_options') or {}
    settings = [] if uq is None else [(uq, f'{where}: uq')]
    _require(isinstance(options, Mapping), f'{where}: uq_options', 'a dict', options)
    for name, own in options.items():
        here = f'{where}: uq_options.{name}'
        _require(isinstance(own, Mapping), here, 'a dict of settings', own)
        settings.append(({**own, 'type': name}, here))
    for node, here in settings:
        ok = isinstance(node, Mapping) and isinstance(node.get('type'), str)
        _require(ok, here, 'a dict with a type', node)
        _check_constructor_keys(node, _look_up(node['type'], registry.UNCERTAINTY, here), here)


def _check_top_level(cfg: Config, where: str) -> None:
    # Configs may have variables of their own, so only names close to a known key are mistakes.
    for key in cfg:
        if key in KNOWN_KEYS:
            continue
        close = difflib.get_close_matches(key, KNOWN_KEYS, n=1, cutoff=0.85)
        if close:
            raise UserError(f'{where}: {key} is unknown; did you mean {close[0]}?')


def _check_validation_complete(cfg: Config, where: str) -> None:
    parts = ('val_dataloader', 'val_cfg', 'val_evaluator')
    given = [key for key in parts if cfg.get(key) is not None]
    if given and len(given) < len(parts):
        missing = [key for key in parts if key not in given]
        raise UserError(
            f'{where}: {", ".join(given)} given without {", ".join(missing)}; set all three, or '
            'none to train without validation'
        )


def _require(ok: bool, where: str, expected: str, found: Any) -> None:
    if not ok:
        raise UserError(f'{where}: expected {expected}, found {found!r}')


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_seed(seed: Any, where: str) -> None:
    ok = seed is None or (_is_int(seed, 0) and seed < 2**32)
    _require(ok, f'{where}: randomness.seed', 'an integer in [0, 2**32)', seed)


def _check_loader(loader: Any, where: str) -> None:
    _require(isinstance(loader, Mapping), where, 'a dict', loader)
    for name in loader:
        if name not in _LOADER_KEYS:
            raise UserError(f'{where}.{name} is unknown{suggestion(name, _LOADER_KEYS)}')
    if 'batch_sampler' not in loader:
        size = loader.get('batch_size', 1)
        _require(_is_int(size, 1), f'{where}.batch_size', 'an integer >= 1', size)
    workers = loader.get('num_workers', 0)
    _require(_is_int(workers, 0), f'{where}.num_workers', 'an integer >= 0', workers)
    for part in ('dataset', 'sampler'):
        if part == 'sampler' and 'batch_sampler' in loader:
            continue
        value = loader.get(part)
        _require(
            isinstance(value, Mapping) and 'type' in value,
            f'{where}.{part}',
            'a dict with a type',
            value,
        )


def _check_loop(loop: Any, where: str) -> None:
    _require(isinstance(loop, Mapping), where, 'a dict', loop)
    _require(
        ('type' in loop) != ('by_epoch' in loop),
        where,
        "exactly one of the keys 'type' and 'by_epoch'",
        dict(loop),
    )
    for key in ('max_epochs', 'max_iters', 'val_interval', 'val_per_epoch'):
        is_off = key == 'val_per_epoch' and loop.get(key) is None
        if key in loop and not is_off:
            _require(_is_int(loop[key], 1), f'{where}.{key}', 'an integer >= 1', loop[key])


def _check_section(section: Any, key: str, section_registry: Registry, where: str) -> None:
    if key == 'train_cfg':
        section = resumable_loop_cfg(section)
    elif key in ('val_evaluator', 'test_evaluator') and isinstance(section, Mapping):
        if 'metrics' in section:
            section_registry = registry.EVALUATOR
            section = {'type': 'Evaluator', **section}
    elif key == 'optim_wrapper' and isinstance(section, Mapping) and 'optimizer' not in section:
        section = _checked_parts(section, f'{where}: {key}')
    elif key in _DEFAULT_TYPE and isinstance(section, Mapping) and 'type' not in section:
        section = {'type': _DEFAULT_TYPE[key], **section}
    if key == 'optim_wrapper':
        _check_rates(section, f'{where}: {key}')
    _walk(section, f'{where}: {key}', section_registry, check_keys=True)


def _checked_parts(section: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check the optimizers of several parts of a model; gives those that are not left out."""
    constructor = section.get('constructor')
    if constructor is None:
        raise UserError(
            f"{where}: expected an optimizer, or constructor='MultiOptimWrapperConstructor' with "
            f'one for each part of the model, found {sorted(section)}'
        )
    _look_up(constructor, registry.OPTIM_WRAPPER_CONSTRUCTORS, f'{where}.constructor')
    parts = {k: v for k, v in section.items() if k not in _BUILDER_KEYS and v is not None}
    for name, part in parts.items():
        here = f'{where}.{name}'
        ok = isinstance(part, Mapping) and 'optimizer' in part
        _require(ok, here, 'a dict with an optimizer', part)
        _check_rates(part, here)
        parts[name] = {'type': _DEFAULT_TYPE['optim_wrapper'], **part}
    return parts


def _check_rates(section: Mapping[str, Any], where: str) -> None:
    optimizer = section.get('optimizer')
    if isinstance(optimizer, Mapping) and 'lr' in optimizer:
        rate = optimizer['lr']
        ok = isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate < 1e3
        _require(ok, f'{where}.optimizer.lr', 'a number > 0', rate)


def _walk(node: Any, where: str, node_registry: Registry, *, check_keys: bool) -> None:
    if isinstance(node, list | tuple):
        for index, item in enumerate(node):
            _walk(item, f'{where}[{index}]', node_registry, check_keys=check_keys)
        return
    if not isinstance(node, Mapping):
        return
    if isinstance(node.get('type'), str):
        built = _look_up(node['type'], node_registry, where)
        if check_keys:
            _check_constructor_keys(node, built, where)
    for key, value in node.items():
        # norm_cfg, act_cfg, init_cfg...: their builders take keys off in ways of their own.
        plain = not key.endswith('_cfg')
        below = _BELOW.get(key, node_registry)
        if key in ('dataset', 'datasets'):
            below = registry.DATASETS
        _walk(value, f'{where}.{key}', below, check_keys=check_keys and plain)


def _look_up(name: str, node_registry: Registry, where: str) -> Any:
    found = node_registry.get(name)
    if found is not None:
        return found
    for other in _ALL_REGISTRIES:
        found = other.get(name)
        if found is not None:
            return found
    raise UserError(
        f'{where}.type: {name} is not a known {node_registry.name}'
        f'{suggestion(name, _names(node_registry, name))}'
    )


_ALL_REGISTRIES = (
    registry.MODELS,
    registry.METRICS,
    registry.TRANSFORMS,
    registry.DATASETS,
    registry.HOOKS,
    registry.VISBACKENDS,
    registry.WEIGHT_INITIALIZERS,
    mmengine_registry.TASK_UTILS,
    registry.FUNCTIONS,
    registry.OPTIMIZERS,
)


def _names(node_registry: Registry, name: str) -> set[str]:
    """All names that a registry knows, with the prefix of the scope that ``name`` asks for."""
    scope, _, _ = name.rpartition('.')
    names: set[str] = set()
    current: Registry | None = node_registry
    while current is not None:
        names |= set(current.module_dict)
        root = current
        current = current.parent
    child = root.children.get(scope) if scope else None
    if child is not None:
        names = {f'{scope}.{known}' for known in child.module_dict}
    return names


def _check_constructor_keys(node: Mapping[str, Any], built: Any, where: str) -> None:
    try:
        parameters = inspect.signature(built).parameters
    except (TypeError, ValueError):  # some C functions have no signature
        return
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    for key in node:
        if key not in parameters and key not in _BUILDER_KEYS:
            raise UserError(
                f'{where}.{key}: {node["type"]} has no such argument'
                f'{suggestion(key, set(parameters))}'
            )
