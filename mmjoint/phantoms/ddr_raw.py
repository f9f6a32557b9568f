"""Fundus phantoms in the files and folders of DDR's part on segmentation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .common import Track, case_rng, divide, untracked, write_image
from .fundus_raw import write_mask, write_truth
from .fundus_structures import LESIONS, render_structures

SPLITS = ('train', 'val', 'test')
FOLDERS = {'train': 'train', 'val': 'valid', 'test': 'test'}
LABELS = {'train': 'label', 'val': 'segmentation label', 'test': 'label'}
ROOT = 'DDR-dataset/lesion_segmentation'
ASPECTS = {'ddr_canon': (1.5, 1.33, 1.25), 'ddr_topcon': (1.0, 1.05)}
GLAUCOMA_SHARE = 0.25


def _draw_photograph(rng: np.random.Generator, size: int) -> tuple[str, tuple[int, int]]:
    """Draw camera, height and width: DDR was collected in many places."""
    look = 'ddr_canon' if rng.random() < 0.6 else 'ddr_topcon'
    height = round(size * rng.uniform(0.8, 1.0))
    return look, (height, round(height * rng.choice(ASPECTS[look])))


def write_ddr(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 512,
    split_ratio: Sequence[float] = (383.0, 149.0, 225.0),
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of DDR: a mask per photograph and kind of lesion.

    Args:
        root: Folder to write to.
        num_cases: Number of photographs in all splits.
        seed: Same seed, same files.
        size: Height of the largest photographs in pixels; the others have at least 0.8 of it.
        split_ratio: Relative sizes of train, val and test.
        track: Shows progress.

    Returns:
        Per photograph its split, id, and shares of the structures.
    """
    counts = divide(num_cases, split_ratio)
    plan = [(place, n) for place, count in enumerate(counts) for n in range(count)]
    known = []
    for place, n in track(plan, 'fundus phantoms'):
        rng = case_rng(seed, 70 + place, n)
        split, case_id = SPLITS[place], f'007-{place}{n:03d}-100'
        look, shape = _draw_photograph(rng, size)
        glaucoma = rng.random() < GLAUCOMA_SHARE
        phantom = render_structures(rng, shape, look, glaucoma=glaucoma)
        folder = root / ROOT / FOLDERS[split]
        write_image(folder / 'image' / f'{case_id}.jpg', phantom.image)
        for kind in LESIONS:
            path = folder / LABELS[split] / kind / f'{case_id}.tif'
            write_mask(path, phantom.lesion_masks[kind], 'TIFF')
        known.append({'split': split, 'id': case_id, **write_truth(root, case_id, phantom)})
    return known
