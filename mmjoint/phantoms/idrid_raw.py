"""Fundus phantoms in the files and folders of IDRiD, and of RETA, which has the same eyes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .common import Track, case_rng, divide, untracked, write_image
from .fundus_raw import check_numbers, write_mask, write_truth
from .fundus_structures import LESIONS, StructuredFundus, render_structures

SPLITS = ('train', 'test')
SPLIT_RATIO = (54.0, 27.0)
ASPECT = 4288 / 2848
ROOT = 'A. Segmentation'
IMAGES = '1. Original Images'
MASKS = '2. All Segmentation Groundtruths'
FOLDERS = {'train': 'a. Training Set', 'test': 'b. Testing Set'}
KINDS = {
    'MA': '1. Microaneurysms',
    'HE': '2. Haemorrhages',
    'EX': '3. Hard Exudates',
    'SE': '4. Soft Exudates',
    'OD': '5. Optic Disc',
}
FORMATS = {'EX': 'red palette', 'HE': 'red palette', 'SE': 'red', 'MA': 'red', 'OD': 'red palette'}
GLAUCOMA_SHARE = 0.25


def _photographs(
    num_cases: int, seed: int, size: int, split_ratio: Sequence[float], track: Track
) -> Iterator[tuple[str, str, StructuredFundus]]:
    """Draw split, id and photograph of all cases.

    The n-th case of a split is the same eye whatever the number of cases, and in both sets.
    """
    check_numbers('IDRiD and RETA', num_cases)
    counts = divide(num_cases, split_ratio)
    plan = [(place, n) for place, count in enumerate(counts) for n in range(count)]
    for number, (place, n) in enumerate(track(plan, 'fundus phantoms'), 1):
        rng = case_rng(seed, 60 + place, n)
        glaucoma = rng.random() < GLAUCOMA_SHARE
        shape = size, round(size * ASPECT)
        yield (
            SPLITS[place],
            f'IDRiD_{number:02d}',
            render_structures(rng, shape, 'idrid', glaucoma=glaucoma),
        )


def write_idrid(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 512,
    split_ratio: Sequence[float] = SPLIT_RATIO,
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of IDRiD, part A: lesions and discs.

    A lesion that a photograph lacks has no file. The photographs are those of :func:`write_reta`
    with the same seed, size and number of cases.

    Args:
        root: Folder to write to.
        num_cases: Number of photographs in both splits, at most 99.
        seed: Same seed, same files.
        size: Height of the photographs in pixels.
        split_ratio: Relative sizes of training and test set.
        track: Shows progress.

    Returns:
        Per photograph its split, id, and shares of the structures.

    Raises:
        UserError: There are too many cases for names of two digits.
    """
    known = []
    for split, case_id, phantom in _photographs(num_cases, seed, size, split_ratio, track):
        folder = FOLDERS[split]
        write_image(root / ROOT / IMAGES / folder / f'{case_id}.jpg', phantom.image)
        masks = {**phantom.lesion_masks, 'OD': phantom.odoc > 0}
        for kind in (*LESIONS, 'OD'):
            if masks[kind].any():
                path = root / ROOT / MASKS / folder / KINDS[kind] / f'{case_id}_{kind}.tif'
                write_mask(path, masks[kind], FORMATS[kind])
        known.append({'split': split, 'id': case_id, **write_truth(root, case_id, phantom)})
    return known


def write_reta(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 512,
    split_ratio: Sequence[float] = SPLIT_RATIO,
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in the raw files of RETA: vessels of the training photographs alone.

    Args:
        root: Folder to write to.
        num_cases: Number of photographs in both splits, at most 99.
        seed: Same seed, same files.
        size: Height of the photographs in pixels.
        split_ratio: Relative sizes of the part with masks and the part without.
        track: Shows progress.

    Returns:
        Per photograph its split, id, and shares of the structures.

    Raises:
        UserError: There are too many cases for names of two digits.
    """
    known = []
    for split, case_id, phantom in _photographs(num_cases, seed, size, split_ratio, track):
        write_image(root / 'RETA' / split / 'images' / f'{case_id}.jpg', phantom.image)
        if split == 'train':
            path = root / 'RETA' / split / 'vessels' / f'{case_id}_vessel.png'
            write_mask(path, phantom.vessel, 'PNG')
        known.append({'split': split, 'id': case_id, **write_truth(root, case_id, phantom)})
    return known
