"""Load a config file with the user's overrides, and turn its failures into one line each."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from mmjoint.utils.errors import UserError

from .checks import KNOWN_KEYS, suggestion


class OptionsAction(DictAction):
    """``--cfg-options a.b=1 c=x``, whose mistakes are argparse's errors."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Collect the pairs, also over several uses of the option."""
        for pair in values:
            if '=' not in pair or pair.startswith('='):
                parser.error(f'{option_string}: expected KEY=VALUE, found {pair!r}')
        before = dict(getattr(namespace, self.dest) or {})
        super().__call__(parser, namespace, values, option_string)
        setattr(namespace, self.dest, {**before, **getattr(namespace, self.dest)})

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """Keep the spaces of a single value, which mmengine drops: paths may have some."""
        text = val.strip('\'"')
        if ',' in text or text.startswith(('(', '[')):
            return DictAction._parse_iterable(val)
        return DictAction._parse_int_float_bool(text)


def load_config(path: str, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file and merge the overrides of the command line.

    Args:
        path: A ``.py`` config.
        options: Dotted keys with their values.

    Returns:
        The merged config.

    Raises:
        UserError: If the file, one of its bases or an override is wrong.
    """
    file = Path(path)
    if file.is_dir():
        raise UserError(f'{path}: expected a config file, found a folder')
    if not file.is_file():
        beside = [p.name for p in file.parent.glob('*.py')] if file.parent.is_dir() else []
        raise UserError(f'{path}: no such config file{suggestion(file.name, set(beside))}')
    if file.suffix != '.py':
        raise UserError(f'{path}: expected a config file ending in .py')
    try:
        cfg = Config.fromfile(path)
    except SyntaxError as error:
        line = f', line {error.lineno}' if error.lineno else ''
        raise UserError(f'{path}: not a valid config{line}: {error.msg}') from error
    except FileNotFoundError as error:
        missing = error.filename or str(error).split()[-1]
        raise UserError(f'{path}: a file that it builds on is missing: {missing}') from error
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f'{path}: the config cannot be read: {error}') from error
    except Exception as error:  # whatever the user's Python code raises
        raise UserError(f'{path}: not a valid config: {type(error).__name__}: {error}') from error
    _merge(cfg, options or {}, path)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        # Persistent workers without workers have no meaning, yet torch refuses them: so an
        # override of num_workers alone does what it says.
        if isinstance(loader, Mapping) and loader.get('num_workers', 0) == 0:
            loader.pop('persistent_workers', None)
            loader.pop('prefetch_factor', None)
    return cfg


def _merge(cfg: Config, options: Mapping[str, Any], path: str) -> None:
    for key in options:
        _check_option(cfg, key, path)
    try:
        cfg.merge_from_dict(dict(options))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise UserError(f'--cfg-options {" ".join(options)}: {reason}') from error


def _check_option(cfg: Config, key: str, path: str) -> None:
    """Stop where an override goes through something that is not there or cannot hold a key."""
    node: Any = cfg
    parts = key.split('.')
    for depth, part in enumerate(parts):
        here = '.'.join(parts[: depth + 1])
        if isinstance(node, list | tuple):
            if not part.isdigit() or int(part) >= len(node):
                raise UserError(
                    f'--cfg-options {key}: {here} does not exist, the list in {path} has '
                    f'{len(node)} items, counted from 0'
                )
            node = node[int(part)]
        elif isinstance(node, Mapping | Config):
            if part not in node:
                known = set(node) | (KNOWN_KEYS if depth == 0 else set())
                if depth == 0 and part not in known:
                    raise UserError(
                        f'--cfg-options {key}: {part} is no key of {path}{suggestion(part, known)}'
                    )
                return  # a new key; whether anything takes it is checked with the whole config
            node = node[part]
        elif node is None:
            return
        else:
            raise UserError(
                f'--cfg-options {key}: {".".join(parts[:depth])} is {node!r} in {path} and can '
                'hold no further keys'
            )


@contextmanager
def building(cfg: Config) -> Iterator[None]:
    """Tell errors of constructors as mistakes of the config that named their arguments."""
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError, KeyError, AssertionError, FileNotFoundError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise UserError(f'{cfg.filename}: cannot build what it describes: {reason}') from error
