import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmjoint.registry import TRANSFORMS


@TRANSFORMS.register_module()
class MonaiTransform(BaseTransform):
    """Run an array transform of MONAI on images and volumes.

    The image is handed over with its channels first and brought back. A random transform is
    seeded from numpy's global state, which is the seed of the sample's visit, and anew for each
    key: so image and label map move together, as long as what is drawn depends on shapes alone.
    Label maps are interpolated with ``mode='nearest'`` where the transform has a ``mode``, and
    keep their dtype.

    Required Keys:

    - those of ``keys``: ``img`` ``(H, W, C)`` or ``(D, H, W, C)``; names in ``seg_fields``
      ``(H, W)`` or ``(D, H, W)``. A label map that a sample does not have is left out.

    Modified Keys:

    - those of ``keys``
    - img_shape (tuple[int, ...]): the new space axes; if they are others than before, also
      ori_shape, and geometry is removed

    Args:
        transform: The name under ``type``, e.g. ``dict(type='RandGaussianNoise', prob=1.0)``, and
            its arguments. Dicts with a ``type`` among them are built in the same way.
        keys: What is transformed.

    Raises:
        ValueError: MONAI has no array transform of this name.

    Examples:
        >>> flip = MonaiTransform(dict(type='RandFlip', prob=0.5), keys=('img', 'gt_seg_map'))
    """

    def __init__(self, transform: Mapping[str, Any], keys: Sequence[str] = ('img',)) -> None:
        if isinstance(keys, str):
            raise ValueError(f'MonaiTransform: keys must be a sequence of names, got {keys!r}')
        self.cfg = dict(transform)
        self.keys = tuple(keys)
        self.call = _build(transform)
        self._has_mode = 'mode' in inspect.signature(self.call.__call__).parameters

    @cache_randomness
    def draw(self) -> int:
        """Draw the seed of one application."""
        return int(np.random.randint(2**31))

    def transform(self, results: dict) -> dict:
        """Transform with a seed that is drawn."""
        return self.apply(results, self.draw())

    def apply(self, results: dict, seed: int) -> dict:
        """Transform with a seed.

        Raises:
            KeyError: A key is missing that is no label map.
        """
        for key in self.keys:
            if key != 'img' and key not in results.get('seg_fields', ()):
                if key in results or not key.startswith('gt_'):
                    raise KeyError(f'MonaiTransform: {key!r} is neither img nor in seg_fields')
                continue
            self._seed(seed)
            results[key] = self._image(results[key]) if key == 'img' else self._map(results[key])
        shape = results['img'].shape[:-1]
        if shape != tuple(results.get('img_shape', shape)):
            results['ori_shape'] = shape
            results.pop('geometry', None)
        results['img_shape'] = shape
        return results

    def _seed(self, seed: int) -> None:
        if hasattr(self.call, 'set_random_state'):
            self.call.set_random_state(seed)

    def _image(self, image: np.ndarray) -> np.ndarray:
        changed = _array(self.call(np.moveaxis(image, -1, 0).copy()))
        return np.ascontiguousarray(np.moveaxis(changed, 0, -1))

    def _map(self, labels: np.ndarray) -> np.ndarray:
        options = {'mode': 'nearest'} if self._has_mode else {}
        # Float, as resampling is not written for integers; class numbers are exact in it.
        changed = _array(self.call(labels[None].astype(np.float32), **options))[0]
        return np.ascontiguousarray(np.rint(changed).astype(labels.dtype))

    def __repr__(self) -> str:
        """Show the options."""
        return f'{type(self).__name__}(transform={self.cfg}, keys={self.keys})'


def _build(cfg: Any) -> Any:
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(_build(item) for item in cfg)
    if not isinstance(cfg, Mapping):
        return cfg
    options = {key: _build(value) for key, value in cfg.items() if key != 'type'}
    if 'type' not in cfg:
        return options
    # MONAI takes seconds to import; only pipelines with this transform wait for it.
    known = importlib.import_module('monai.transforms')
    kind: Callable | None = getattr(known, str(cfg['type']), None)
    if not (inspect.isclass(kind) and issubclass(kind, known.Transform)) or issubclass(
        kind, known.MapTransform
    ):
        raise ValueError(
            f'MonaiTransform: type must name an array transform of monai.transforms, '
            f'got {cfg["type"]!r}'
        )
    return kind(**options)


def _array(changed: Any) -> np.ndarray:
    # A tensor with MONAI's metadata, or an array.
    return changed.numpy() if hasattr(changed, 'numpy') else np.asarray(changed)
