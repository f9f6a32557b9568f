"""Fundus phantoms in the files and folders of DRIVE, STARE and ARIA: vessels alone are labelled."""

from pathlib import Path
from typing import Any

from .common import Track, case_rng, divide, untracked, write_image
from .fundus_raw import check_numbers, coarser, write_mask, write_packed, write_truth
from .fundus_structures import StructuredFundus, render_structures

STARE_NUMBERS = (
    1,
    2,
    3,
    4,
    5,
    44,
    77,
    81,
    82,
    139,
    162,
    163,
    235,
    236,
    239,
    240,
    255,
    291,
    319,
    324,
)
ARIA_GROUPS = {'a': 23, 'c': 61, 'd': 59}  # macular degeneration, controls, diabetes
GLAUCOMA_SHARE = 0.25


def _render(
    seed: int, place: int, n: int, shape: tuple[int, int], look: str, ill: bool | None = None
) -> StructuredFundus:
    """Draw the n-th photograph of a part."""
    rng = case_rng(seed, place, n)
    glaucoma = rng.random() < GLAUCOMA_SHARE
    return render_structures(rng, shape, look, glaucoma=glaucoma, ill=ill)


def write_drive(
    root: Path, *, num_cases: int, seed: int, size: int = 584, track: Track = untracked
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of DRIVE: two halves, with masks of the field of view.

    Args:
        root: Folder to write to.
        num_cases: Number of photographs in both halves, at most 99.
        seed: Same seed, same files.
        size: Height of the photographs in pixels.
        track: Shows progress.

    Returns:
        Per photograph its split, id, and shares of the structures.

    Raises:
        UserError: There are too many cases for names of two digits.
    """
    check_numbers('drive', num_cases)
    train, test = divide(num_cases, (1, 1))
    plan = [('test', 'test', n) for n in range(test)]
    plan += [('train', 'training', n) for n in range(train)]
    known = []
    for number, (split, name, n) in enumerate(track(plan, 'fundus phantoms'), 1):
        shape = size, round(size * 565 / 584)
        phantom = _render(seed, 80 + (split == 'test'), n, shape, 'drive')
        case_id, folder = f'{number:02d}_{name}', root / 'DRIVE' / name
        write_image(folder / 'images' / f'{case_id}.tif', phantom.image)
        path = folder / '1st_manual' / f'{number:02d}_manual1.gif'
        write_mask(path, phantom.vessel, 'GIF')
        write_mask(folder / 'mask' / f'{case_id}_mask.gif', phantom.fov, 'GIF')
        known.append({'split': split, 'id': case_id, **write_truth(root, case_id, phantom)})
    return known


def write_stare(
    root: Path, *, num_cases: int, seed: int, size: int = 605, track: Track = untracked
) -> list[dict[str, Any]]:
    """Write phantoms in the raw files of STARE: packed pixmaps, masks of two observers.

    Args:
        root: Folder to write to.
        num_cases: Number of photographs.
        seed: Same seed, same files.
        size: Height of the photographs in pixels.
        track: Shows progress.

    Returns:
        Per photograph its split, id, and shares of the structures.
    """
    known = []
    for n in track(range(num_cases), 'fundus phantoms'):
        number = STARE_NUMBERS[n] if n < len(STARE_NUMBERS) else 400 + n
        case_id = f'im{number:04d}'
        phantom = _render(seed, 90, n, (size, round(size * 700 / 605)), 'stare')
        write_packed(root / 'stare-images' / f'{case_id}.ppm.gz', phantom.image)
        for observer, mask in (('vk', phantom.vessel > 0), ('ah', coarser(phantom.vessel))):
            path = root / f'labels-{observer}' / f'{case_id}.{observer}.ppm.gz'
            write_packed(path, mask.astype('uint8') * 255)
        known.append({'split': 'test', 'id': case_id, **write_truth(root, case_id, phantom)})
    return known


def write_aria(
    root: Path, *, num_cases: int, seed: int, size: int = 576, track: Track = untracked
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of ARIA: three groups, masks of two observers.

    Args:
        root: Folder to write to.
        num_cases: Number of photographs in all groups.
        seed: Same seed, same files.
        size: Height of the photographs in pixels.
        track: Shows progress.

    Returns:
        Per photograph its split, id, and shares of the structures.
    """
    counts = divide(num_cases, tuple(ARIA_GROUPS.values()))
    plan = [
        (group, n) for group, count in zip(ARIA_GROUPS, counts, strict=True) for n in range(count)
    ]
    known = []
    for group, n in track(plan, 'fundus phantoms'):
        case_id = f'aria_{group}_{n + 1}_1'
        shape = size, round(size * 768 / 576)
        place = 100 + list(ARIA_GROUPS).index(group)
        phantom = _render(seed, place, n, shape, 'aria', ill=group == 'd')
        write_image(root / f'aria_{group}_markups' / f'{case_id}.tif', phantom.image)
        for observer, mask in (('BDP', phantom.vessel > 0), ('BSS', coarser(phantom.vessel))):
            path = root / f'aria_{group}_markup_vessel' / f'{case_id}_{observer}.tif'
            write_mask(path, mask, 'TIFF')
        known.append({'split': 'test', 'id': case_id, **write_truth(root, case_id, phantom)})
    return known
