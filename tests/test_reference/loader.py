"""The one reader of reference vectors; it remembers which arrays were used.

The vectors stand in ``tests/reference/<method>/*.npz``. ``MMJOINT_REFERENCE_DIR`` points at another
folder of the same layout; files that it lacks are not tested.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(
    os.environ.get('MMJOINT_REFERENCE_DIR') or Path(__file__).resolve().parents[1] / 'reference'
)
_USED: dict[Path, set[str]] = {}


class Arrays(Mapping[str, np.ndarray]):
    """The arrays of one file, or of one case in it; reading one marks it as used."""

    def __init__(self, path: Path, prefix: str = '') -> None:
        self.path = path
        self.prefix = prefix
        with np.load(path, allow_pickle=False) as stored:
            self._arrays = {
                name[len(prefix) :]: stored[name]
                for name in stored.files
                if name.startswith(prefix)
            }

    def __getitem__(self, name: str) -> np.ndarray:
        value = self._arrays[name]
        _USED.setdefault(self.path, set()).add(self.prefix + name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One array as a tensor of its own memory."""
        tensor = torch.from_numpy(np.array(self[name]))
        return tensor if dtype is None else tensor.to(dtype)

    def cases(self, pattern: str = r'c\d+_') -> list['Arrays']:
        """The independent cases of the file, told apart by their prefix (``c0_``, ``c1_``)."""
        prefixes = sorted({m.group() for name in self if (m := re.match(pattern, name))})
        return [Arrays(self.path, self.prefix + prefix) for prefix in prefixes]

    def below(self, prefix: str) -> dict[str, torch.Tensor]:
        """All arrays under ``prefix`` as tensors, keyed by the rest of their name."""
        return {name[len(prefix) :]: self.tensor(name) for name in self if name.startswith(prefix)}


def reference(method: str, file: str) -> Arrays:
    """Read ``<method>/<file>.npz``; skip the calling test where the folder has no such file."""
    path = ROOT / method / f'{file}.npz'
    if not path.is_file():
        pytest.skip(f'{method}/{file}.npz is not among the reference vectors')
    return Arrays(path)


def unused_arrays(method: str) -> list[str]:
    """``file: array`` for all arrays of a method's folder that no test has read so far."""
    left = []
    for path in sorted((ROOT / method).glob('*.npz')):
        with np.load(path, allow_pickle=False) as stored:
            names = set(stored.files) - _USED.get(path, set())
        left += [f'{path.name}: {name}' for name in sorted(names)]
    return left


def assert_close(
    actual: torch.Tensor | np.ndarray | float, expected: np.ndarray, tolerance: float, what: str
) -> None:
    """Compare, with the error taken relative to the largest magnitude of ``expected``."""
    if isinstance(actual, torch.Tensor):
        actual = actual.detach().cpu().numpy()
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f'{what}: shape {actual.shape}, not {expected.shape}'
    assert np.isfinite(actual).all(), f'{what}: not finite'
    scale = float(np.abs(expected).max(initial=0.0))
    error = float(np.abs(actual - expected).max(initial=0.0))
    assert error <= tolerance * scale, f'{what}: error {error:.3g} at magnitude {scale:.3g}'
