"""Dermoscopy phantoms in the files and folders in which ISIC 2016, Task 1 is distributed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .common import Track, case_rng, divide, draw_labels, untracked, write_image
from .dermoscopy import render_dermoscopy

FOLDERS = {'train': 'ISBI2016_ISIC_Part1_Training', 'test': 'ISBI2016_ISIC_Part1_Test'}
ASPECTS = (4 / 3, 3 / 2, 1.0, 1.2)
ASPECT_SHARES = (0.55, 0.2, 0.1, 0.15)


def draw_shape(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """Draw height and width of a photograph.

    Args:
        rng: Generator.
        size: Width of the largest ones; the others have at least half of it.

    Returns:
        Height and width, in pixels.
    """
    width = round(size * rng.uniform(0.5, 1.0))
    return round(width / rng.choice(ASPECTS, p=ASPECT_SHARES)), width


def write_isic2016(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 512,
    hard_share: float = 0.25,
    split_ratio: Sequence[float] = (900.0, 379.0),
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of ISIC 2016, Task 1.

    Sizes and aspects vary from photograph to photograph, as in the real set.

    Args:
        root: Folder to write to.
        num_cases: Number of photographs in both parts together.
        seed: Same seed, same files.
        size: Width of the largest photographs.
        hard_share: Share of hard ones in each part: pale lesions with a washed-out border.
        split_ratio: Relative sizes of the training and the test part; the real one is 900 to 379.
        track: Shows progress.

    Returns:
        Per photograph its part, id, whether it is hard, the lesion's share of the area, contrast
        and width of the border, and the number of hairs.
    """
    plan = []
    for place, (split, count) in enumerate(
        zip(FOLDERS, divide(num_cases, split_ratio), strict=True)
    ):
        labels = draw_labels(case_rng(seed, place), count, hard_share)
        for index, hard in enumerate(labels.tolist()):
            plan.append((split, f'ISIC_{len(plan):07d}', hard, (place, index)))
    truth = []
    for split, case_id, hard, key in track(plan, 'dermoscopy phantoms'):
        rng = case_rng(seed, *key)
        phantom = render_dermoscopy(rng, draw_shape(rng, size), bool(hard))
        folder = FOLDERS[split]
        write_image(root / f'{folder}_Data' / f'{case_id}.jpg', phantom.image)
        write_image(
            root / f'{folder}_GroundTruth' / f'{case_id}_Segmentation.png', phantom.mask * 255
        )
        truth.append(
            {
                'split': split,
                'id': case_id,
                'hard': hard,
                'lesion_share': round(float(phantom.mask.mean()), 4),
                'contrast': round(phantom.contrast, 4),
                'border': round(phantom.border, 4),
                'num_hairs': phantom.num_hairs,
            }
        )
    return truth
