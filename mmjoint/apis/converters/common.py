"""Turn the checkpoints of the methods' authors into ours, key by key."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmjoint.utils.errors import UserError

Rule = tuple[str, str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class Converter:
    """How the official checkpoints of one method become ours.

    Attributes:
        config: Config file of the model, from the repository's root.
        rules: (regular expression, replacement) pairs; the first that matches a whole key names
            it anew.
        dropped: Regular expression of keys that have no counterpart here.
        options: Gives the entries of ``--cfg-options`` that the official weights imply, such as
            the number of classes.
        metadata: Names of entries that hold plain values in place of a tensor.
        initial: Regular expression of keys of ours that official checkpoints lack; the config's
            model gives their values.
        part: Type of the part of the config's model whose weights they are; empty for the model.
    """

    config: str
    rules: tuple[Rule, ...]
    dropped: str
    options: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    metadata: tuple[str, ...] = ()
    initial: str = ''
    part: str = ''

    def rename(self, key: str) -> str | None:
        """Our name of an official key; None for a key that is dropped.

        Raises:
            UserError: No rule names the key.
        """
        if re.fullmatch(self.dropped, key):
            return None
        for pattern, replacement in self.rules:
            if match := re.fullmatch(pattern, key):
                return replacement(match) if callable(replacement) else match.expand(replacement)
        raise UserError(
            f'checkpoint key {key}: expected a key of this method, found an unknown one; check the '
            'method name and the checkpoint'
        )

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename all keys of an official state dict, without the wrapper's ``module.``."""
        plain = {key.removeprefix('module.'): value for key, value in state.items()}
        return {new: value for key, value in plain.items() if (new := self.rename(key)) is not None}

    def choose(self, model: nn.Module) -> nn.Module:
        """The part of a model whose weights are converted.

        Raises:
            UserError: The model has no such part.
        """
        if not self.part:
            return model
        for module in model.modules():
            if type(module).__name__ == self.part:
                return module
        raise UserError(
            f'config: expected a model with a {self.part}, found none in {type(model).__name__}; '
            'pass another --config'
        )

    def complete(self, state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        """Add to converted weights what official checkpoints do not hold."""
        own = {k: v for k, v in model.state_dict().items() if re.fullmatch(self.initial, k)}
        return {**own, **state}


def shifted(template: str, *, base: int, step: int = 1) -> Callable[[re.Match[str]], str]:
    """A replacement whose first group is a counter: ours is ``(counter - base) * step``.

    Args:
        template: Our name with ``{n}`` for the counter and ``{1}``, ``{2}``, ... for further groups.
        base: Counter of the official name that is our 0.
        step: 1, or -1 where the official names count down.
    """

    def replace(match: re.Match[str]) -> str:
        first, *rest = match.groups()
        return template.format('', *rest, n=(int(first) - base) * step)

    return replace


def read_official(
    path: str | Path, metadata: Collection[str] = ()
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read an official checkpoint.

    Args:
        path: The file.
        metadata: Names of entries among the tensors that hold plain values.

    Returns:
        The tensors by name, and those of the entries in ``metadata`` that the file has.

    Raises:
        UserError: The file is missing, unreadable or holds no tensors by name.
    """
    if not Path(path).is_file():
        raise UserError(f'{path}: expected an official checkpoint, found no file; check the path')
    try:
        stored = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise UserError(
            f'{path}: expected a file of tensors, it cannot be read ({type(error).__name__}); '
            'fetch it again'
        ) from error
    for name in ('state_dict', 'model', 'net'):
        if isinstance(stored, dict) and isinstance(stored.get(name), dict):
            stored = stored[name]
    if not isinstance(stored, dict):
        raise UserError(f'{path}: expected tensors by name, found {type(stored).__name__}')
    found = {key: stored[key] for key in metadata if key in stored}
    tensors = {key: value for key, value in stored.items() if key not in found}
    for key, value in tensors.items():
        if not isinstance(value, Tensor):
            raise UserError(
                f'{path}: expected tensors by name, found {type(value).__name__} under {key}; '
                'check the method name and the checkpoint'
            )
    return tensors, found


def check_fit(model: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Check that converted weights are exactly those of a model.

    Raises:
        UserError: A key is missing or left over, or a shape differs.
    """
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    for what, keys in (
        ('missing', sorted(expected.keys() - found.keys())),
        ('left over', sorted(found.keys() - expected.keys())),
    ):
        if keys:
            raise UserError(
                f'{source}: expected the {len(expected)} weights of the config, found '
                f'{len(keys)} {what}, first {keys[0]}; check method and config'
            )
    for key, shape in expected.items():
        if found[key] != shape:
            raise UserError(
                f'{source}: {key} has shape {found[key]}, the config expects {shape}; check the '
                'numbers of classes'
            )
