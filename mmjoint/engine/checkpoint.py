"""Checkpoints of tensors and plain values: written whole, read safely, chosen with care."""

import hashlib
import pathlib
import re
import zipfile
from collections import OrderedDict, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_path

_HISTORY = 'history_buffer'
TRAINING_ENDED = 'training_ended'
"""Key of the message hub under which the checkpoint of a training's end says that it is one."""


class DamagedCheckpointError(UserError):
    """A checkpoint file is there, but cannot be read whole."""


def to_plain(value: Any, where: str = 'checkpoint') -> Any:
    """Rebuild a nested value from what ``torch.load(weights_only=True)`` accepts.

    Tensors go to the CPU; numpy scalars become Python numbers, arrays tensors, paths strings,
    mmengine's log histories dictionaries; subclasses of containers the containers themselves.

    Args:
        value: Any nesting of the above.
        where: Name of ``value`` in error messages.

    Returns:
        The same content in tensors and plain Python values.

    Raises:
        TypeError: If something cannot be stored so; the message names where it stands.
    """
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, HistoryBuffer):
        values, counts = value.data
        return {
            'type': _HISTORY,
            'values': torch.from_numpy(np.array(values, np.float64)),
            'counts': torch.from_numpy(np.array(counts, np.int64)),
            'max_length': value.max_length,
        }
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biufc':
        return torch.from_numpy(np.array(value))
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, Mapping):
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        plain = kind((to_plain(k, where), to_plain(v, f'{where}.{k}')) for k, v in value.items())
        if hasattr(value, '_metadata'):  # the module versions in a model's state
            plain._metadata = to_plain(value._metadata, f'{where}._metadata')
        return plain
    if isinstance(value, torch.Size | tuple):
        return tuple(to_plain(item, f'{where}[{i}]') for i, item in enumerate(value))
    if isinstance(value, list | deque):
        return [to_plain(item, f'{where}[{i}]') for i, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return {to_plain(item, where) for item in value}
    for plain_type in (int, float, str):  # subclasses such as SeededIndex or enumerations
        if isinstance(value, plain_type):
            return plain_type(value)
    if isinstance(value, torch.dtype | torch.device):
        return value
    raise TypeError(
        f'{where} is a {type(value).__module__}.{type(value).__qualname__}; checkpoints hold '
        'tensors and plain values only, so store it as such'
    )


def restore_histories(log_scalars: Mapping[str, Any]) -> dict[str, HistoryBuffer]:
    """Turn log histories stored by :func:`to_plain` back into mmengine's buffers."""
    return {
        name: HistoryBuffer(
            stored['values'].numpy(), stored['counts'].numpy(), stored['max_length']
        )
        for name, stored in log_scalars.items()
        if isinstance(stored, Mapping) and stored.get('type') == _HISTORY
    }


def write_checkpoint(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Write tensors and plain values to ``path``, whole or not at all."""
    plain = to_plain(checkpoint)
    with atomic_path(path) as temporary:
        torch.save(plain, temporary)


def read_checkpoint(path: str | Path, *, verify: bool = True) -> dict[str, Any]:
    """Read a checkpoint safely onto the CPU.

    Args:
        path: A local file.
        verify: Compare the stored checksums with the content first (torch does not).

    Returns:
        The stored dictionary; a bare state dict is wrapped as ``{'state_dict': ...}``.

    Raises:
        UserError: If there is no such file, or it holds no weights.
        DamagedCheckpointError: If the file is truncated, altered or no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob('*.pth')) if path.parent.is_dir() else []
        hint = f'; in that folder are {", ".join(beside[-5:])}' if beside else ''
        raise UserError(f'{path}: no such checkpoint file{hint}')
    try:
        if verify and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
            if broken is not None:
                raise DamagedCheckpointError(
                    f'{path}: damaged checkpoint, its part {broken} does not match its checksum; '
                    'use another one'
                )
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except PermissionError as error:
        raise UserError(f'{path}: no permission to read the checkpoint') from error
    except DamagedCheckpointError:
        raise
    except Exception as error:  # a damaged file fails anywhere in the unpickler
        reason = _reason(path, error)
        raise DamagedCheckpointError(f'{path}: not a readable checkpoint: {reason}') from error
    if isinstance(checkpoint, Mapping) and 'state_dict' in checkpoint:
        return dict(checkpoint)
    if (
        isinstance(checkpoint, Mapping)
        and checkpoint
        and all(isinstance(v, torch.Tensor) for v in checkpoint.values())
    ):
        return {'state_dict': checkpoint}
    found = (
        f'the keys {", ".join(map(str, list(checkpoint)[:5]))}'
        if isinstance(checkpoint, Mapping)
        else type(checkpoint).__name__
    )
    raise UserError(f'{path}: expected a checkpoint with the key state_dict, found {found}')


def _reason(path: Path, error: Exception) -> str:
    text = ' '.join(str(error).split())
    if path.stat().st_size == 0:
        return 'the file is empty; use another one'
    if 'Unsupported global' in text or 'Unsupported class' in text:
        name = re.search(r'GLOBAL (\S+)', text)
        what = f' ({name.group(1)})' if name else ''
        return (
            f'it holds Python objects besides tensors and plain values{what}, which are not '
            'loaded for safety; convert it with tools/model_converters/convert.py'
        )
    with path.open('rb') as stream:
        begins_right = stream.read(2) == b'PK'
    if begins_right:
        return 'the file is truncated or damaged; use another one'
    return 'the file is damaged or of another kind; use another one'


def _read_mapped(path: str | Path) -> dict[str, Any]:
    # Only zip files, which torch writes by default, can be mapped.
    mapped = zipfile.is_zipfile(path)
    return torch.load(path, map_location='cpu', weights_only=True, mmap=mapped)


def read_meta(path: str | Path) -> dict[str, Any]:
    """Give a checkpoint's ``meta`` without reading its tensors; empty if there is none."""
    return dict(_read_mapped(path).get('meta', {}))


def read_runtime_info(path: str | Path) -> dict[str, Any]:
    """Give what hooks have stored in a checkpoint; empty if there is nothing."""
    return dict(_read_mapped(path).get('message_hub', {}).get('runtime_info', {}))


def hash_weights(path: str | Path) -> str:
    """Give the SHA-256 of a checkpoint's weights alone.

    Unlike that of the file it is the same for a training and its repetition, whose checkpoints tell
    other times. It stands for names, types, shapes and bits, not for their order.

    Args:
        path: A readable checkpoint.
    """
    stored = _read_mapped(path)
    digest = hashlib.sha256()
    for name, value in sorted(stored.get('state_dict', stored).items()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def training_is_finished(path: str | Path, train_cfg: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is the end of the training that a config describes.

    Its own last validation is done then. A training that was stopped early is finished, too,
    unless the config now asks for another length.

    Args:
        path: A readable checkpoint.
        train_cfg: The config's, with ``max_epochs`` or ``max_iters``.
    """
    meta, ended = read_meta(path), read_runtime_info(path).get(TRAINING_ENDED)
    if ended is None or ended['iter'] != meta['iter']:
        return False
    planned = train_cfg.get('max_epochs')
    done = meta['epoch']
    if planned is None:
        planned, done = train_cfg['max_iters'], meta['iter']
    return done >= planned or ended['planned'] == planned


def _strip_wrapper(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    return {re.sub(r'^module\.', '', key): value for key, value in state_dict.items()}


def load_weights(
    model: nn.Module, checkpoint: Mapping[str, Any], source: str | Path, *, strict: bool
) -> list[str]:
    """Load weights into a model after comparing names and shapes.

    Args:
        model: The bare model, without a data-parallel wrapper.
        checkpoint: As :func:`read_checkpoint` gives it.
        source: Where it came from, for messages.
        strict: Refuse any difference. Otherwise load what fits, and refuse only when nothing does.

    Returns:
        One line per kind of difference, empty if everything fits.

    Raises:
        UserError: If the checkpoint belongs to another model.
    """
    stored = _strip_wrapper(checkpoint['state_dict'])
    own = model.state_dict()
    missing = [key for key in own if key not in stored]
    unexpected = [key for key in stored if key not in own]
    reshaped = [
        key for key in own if key in stored and tuple(own[key].shape) != tuple(stored[key].shape)
    ]
    differences = []
    if missing:
        differences.append(f'{len(missing)} keys missing (first {", ".join(missing[:3])})')
    if unexpected:
        differences.append(f'{len(unexpected)} unexpected (first {", ".join(unexpected[:3])})')
    if reshaped:
        key = reshaped[0]
        differences.append(
            f'{len(reshaped)} of another shape (first {key}: {tuple(stored[key].shape)}, the model '
            f'has {tuple(own[key].shape)})'
        )
    nothing_fits = len(missing) + len(reshaped) == len(own)
    if differences and (strict or nothing_fits):
        made_by = checkpoint.get('meta', {}).get('model_name')
        raise UserError(
            f'{source}: weights of another model'
            + (f' ({made_by})' if made_by else '')
            + f', they do not fit {type(model).__name__}: {"; ".join(differences)}; pass the '
            'config that the checkpoint was trained with'
        )
    for key in reshaped:
        stored.pop(key)
    # Versions of modules steer how old states are upgraded; a copy of the dict has lost them.
    state = OrderedDict(stored)
    metadata = getattr(checkpoint['state_dict'], '_metadata', None)
    if metadata is not None:
        state._metadata = metadata
    model.load_state_dict(state, strict=strict)
    return differences


def _step_of(path: Path) -> int:
    number = re.fullmatch(r'(?:epoch|iter)_(\d+)', path.stem)
    return int(number.group(1)) if number else -1


def resume_candidates(work_dir: str | Path) -> list[Path]:
    """List the checkpoints of a work folder in the order in which resuming should try them.

    First the one that ``last_checkpoint`` names, then the ones before it, newest first, then the
    ones with higher numbers (left by an earlier run that went further).
    """
    work_dir = Path(work_dir)
    files = [
        path
        for pattern in ('epoch_*.pth', 'iter_*.pth')
        for path in work_dir.glob(pattern)
        if _step_of(path) >= 0
    ]
    files.sort(key=_step_of, reverse=True)
    pointer = work_dir / 'last_checkpoint'
    if not pointer.is_file():
        return files
    # Only the name counts: the folder may have been moved since.
    last = work_dir / Path(pointer.read_text(encoding='utf-8').strip()).name
    if _step_of(last) < 0:
        return files
    before = [path for path in files if _step_of(path) < _step_of(last)]
    beyond = [path for path in files if _step_of(path) >= _step_of(last) and path != last]
    return [last, *before, *beyond]


def find_resumable(work_dir: str | Path) -> tuple[Path | None, list[str]]:
    """Choose the checkpoint from which a work folder's training goes on.

    Returns:
        The newest whole checkpoint (``None`` if the folder has no checkpoint at all) and one
        warning for each newer one that is missing or damaged.

    Raises:
        UserError: If there are checkpoints, but none can be read.
    """
    warnings: list[str] = []
    candidates = resume_candidates(work_dir)
    for path in candidates:
        try:
            read_checkpoint(path)
        except UserError as error:
            warnings.append(str(error))
            continue
        return path, [f'{w} -- {path.name} is used instead' for w in warnings]
    if any(path.is_file() for path in candidates):
        raise UserError(
            f'{work_dir}: none of its checkpoints can be read, so training cannot go on: '
            f'{"; ".join(warnings)}'
        )
    return None, warnings
