"""Time of the augmentation of patches, in its plain and in its fast form."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy
import torch
from mmengine.config import Config, ConfigDict

import mmjoint
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError
from mmjoint.utils.random import local_seed

from .config import building
from .measuring import device_name

FORMS = ('plain', 'fast')


@dataclass(kw_only=True)
class AugmentationBenchmarkOptions:
    """What to measure.

    Args:
        shape: Space axes of a patch.
        num_classes: Number of classes C of its label map.
        iters: Samples per operation, each with a parameter of its own.
        chain_iters: Samples through the whole chain.
        seed: Of the patch and of all that is drawn; both forms draw the same.
    """

    shape: Sequence[int] = (64, 128, 128)
    num_classes: int = 14
    iters: int = 3
    chain_iters: int = 12
    seed: int = 0


def run_augmentation_benchmark(
    cfg: Config, options: AugmentationBenchmarkOptions
) -> dict[str, Any]:
    """Measure each operation of a chain, and the chain, on patches with and without labels.

    The plain form has ``fast=False`` where an operation knows it, and gives a patch without labels
    a map of zeros that moves along, as the published code does.

    Args:
        cfg: Config with the chain, a ``RandomSubset``, under ``augmentation``.
        options: What to measure.

    Returns:
        Plain values: ``operations``, by name, and ``chain``, each with the mean seconds per sample
        of ``plain`` and ``fast`` for ``labelled`` and ``unlabelled`` patches, ``ratio`` (fast to
        plain, of both together), ``equal_labels`` (share of voxels that have the same label in
        both forms) and ``image_difference`` (the largest); and what was measured on what. Seconds
        are those of the processor, of all threads: what other programs do does not count.

    Raises:
        UserError: There is no such chain, or it does not fit the patch.
    """
    _check(cfg, options)
    chains = {}
    with building(cfg):
        for form in FORMS:
            chains[form] = TRANSFORMS.build(_in_form(cfg.augmentation, fast=form == 'fast'))
    sample = _patch(options)
    operations = {
        type(plain).__name__: _compare(dict(plain=plain, fast=fast), sample, options.iters)
        for plain, fast in zip(*(chains[form].transforms for form in FORMS), strict=True)
    }
    chain = _compare(chains, sample, options.chain_iters)
    return dict(
        config=str(cfg.filename) if cfg.filename else None,
        operations=operations,
        chain=chain,
        **asdict(options),
        machine=dict(
            device=device_name(torch.device('cpu')),
            python=platform.python_version(),
            numpy=np.__version__,
            scipy=scipy.__version__,
            mmjoint=mmjoint.__version__,
        ),
    )


def _check(cfg: Config, options: AugmentationBenchmarkOptions) -> None:
    chain = cfg.get('augmentation')
    if not isinstance(chain, Mapping) or chain.get('type') != 'RandomSubset':
        raise UserError(
            f'{cfg.filename}: expected the key augmentation with a RandomSubset, found '
            f'{chain if chain is None else type(chain).__name__}; give a config such as '
            'configs/_base_/datasets/strong-augmentation_3d.py'
        )
    if len(options.shape) not in (2, 3) or min(options.shape) < 4:
        raise UserError(f'--shape: expected 2 or 3 numbers >= 4, found {list(options.shape)}')
    for name, value in (('classes', options.num_classes), ('iters', options.iters)):
        if value < 1:
            raise UserError(f'--{name}: expected a number >= 1, found {value}')


def _in_form(chain: ConfigDict, *, fast: bool) -> dict:
    """The chain's config with its operations in one form, where they have several."""
    transforms = []
    for item in chain['transforms']:
        knows = 'fast' in TRANSFORMS.get(item['type']).__init__.__code__.co_varnames
        transforms.append({**item, 'fast': fast} if knows else dict(item))
    return {**chain, 'transforms': transforms}


def _patch(options: AugmentationBenchmarkOptions) -> dict[str, Any]:
    """A noisy patch with an ellipsoid of each class but the background."""
    rng = np.random.default_rng(options.seed)
    shape = tuple(options.shape)
    labels = np.zeros(shape, np.uint8)
    places = np.ogrid[tuple(slice(0, 1, length * 1j) for length in shape)]
    for number in range(1, options.num_classes):
        centre = rng.uniform(0.1, 0.9, len(shape))
        radius = rng.uniform(0.06, 0.25, len(shape))
        square = sum(((p - c) / r) ** 2 for p, c, r in zip(places, centre, radius, strict=True))
        labels[square <= 1] = number
    image = labels / options.num_classes + rng.normal(0, 0.1, shape)
    return dict(
        img=image.clip(0, 1).astype(np.float32)[..., None],
        gt_seg_map=labels,
        seg_fields=['gt_seg_map'],
    )


def _compare(
    forms: Mapping[str, Callable[[dict], dict]], sample: Mapping[str, Any], iters: int
) -> dict[str, Any]:
    """Run both forms in turns, so that they see the same load, on the same draws."""
    seconds: dict[str, dict[str, list[float]]] = {form: {} for form in forms}
    equal, difference = [], 0.0
    for number in range(iters):
        for labelled in (True, False):
            results = {}
            for form, transform in forms.items():
                given = _given(sample, labelled, zeros=form == 'plain')
                start = time.process_time()
                with local_seed(number):
                    results[form] = transform(given)
                times = seconds[form].setdefault('labelled' if labelled else 'unlabelled', [])
                times.append(time.process_time() - start)
            plain, fast = (results[form] for form in FORMS)
            difference = max(difference, float(np.abs(plain['img'] - fast['img']).max()))
            if labelled:
                equal.append(float((plain['gt_seg_map'] == fast['gt_seg_map']).mean()))
    means = {
        form: {kind: statistics.mean(times) for kind, times in own.items()}
        for form, own in seconds.items()
    }
    totals = {form: sum(own.values()) for form, own in means.items()}
    return dict(
        **means,
        ratio=totals['fast'] / totals['plain'],
        equal_labels=statistics.mean(equal),
        image_difference=difference,
    )


def _given(sample: Mapping[str, Any], labelled: bool, zeros: bool) -> dict[str, Any]:
    given = dict(img=sample['img'].copy(), seg_fields=[])
    if labelled or zeros:
        given['seg_fields'] = ['gt_seg_map']
        given['gt_seg_map'] = (
            sample['gt_seg_map'].copy() if labelled else (np.zeros_like(sample['gt_seg_map']))
        )
    return given
