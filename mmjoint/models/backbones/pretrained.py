import logging
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import nn

from mmjoint.utils.errors import UserError


def load_pretrained(
    module: nn.Module, path: str | None, rename: Callable[[str], str | None]
) -> None:
    """Load a local file of pretrained weights into a backbone.

    Args:
        module: The backbone.
        path: File of tensors by name, or None: nothing is loaded and a warning says so.
        rename: Translates a name of the file; None for a tensor that is not wanted.

    Raises:
        UserError: The file is missing, unreadable, or does not fit the backbone.
    """
    name = type(module).__name__
    if path is None:
        print_log(
            f'{name} starts from scratch: `pretrained` is None. Set it to a local file of '
            'ImageNet weights for the published setting.',
            logger='current',
            level=logging.WARNING,
        )
        return
    if not Path(path).is_file():
        raise UserError(
            f'{path}: expected a file of pretrained weights for {name}, found none; correct '
            '`pretrained` in the config or set it to None'
        )
    try:
        stored = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise UserError(
            f'{path}: cannot be read as a file of tensors ({type(error).__name__}); fetch it again'
        ) from error
    if not isinstance(stored, dict):
        raise UserError(f'{path}: expected tensors by name, found {type(stored).__name__}')
    stored = stored.get('state_dict', stored)
    state = {new: value for key, value in stored.items() if (new := rename(key)) is not None}
    own = module.state_dict()
    missing = sorted(set(own) - set(state))
    if missing:
        raise UserError(
            f'{path}: expected all weights of {name}, found {len(missing)} missing, first '
            f'{missing[0]}; use the weights of this architecture'
        )
    for key, value in own.items():
        if state[key].shape != value.shape:
            raise UserError(
                f'{path}: {key} has shape {tuple(state[key].shape)}, the config expects '
                f'{tuple(value.shape)}; use weights of the same width'
            )
    module.load_state_dict(state, strict=False)
