"""Chest X-ray phantoms in the raw form of JSRT with the SCR masks, and as ``jsrt.mat``."""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy.io import savemat

from mmjoint.utils.io import atomic_write_bytes

from .chest_xray import CAMERAS, ChestXrayPhantom, draw_anatomy, render_chest_xray
from .common import Track, case_rng, divide, draw_labels, untracked

NODULE_SHARE = 154 / 247
MAT_RATIO = (111.0, 13.0, 123.0)
STRUCTURES = {
    'heart': 'heart',
    'left clavicle': 'left_clavicle',
    'left lung': 'left_lung',
    'right clavicle': 'right_clavicle',
    'right lung': 'right_lung',
}


def _gif(mask: np.ndarray) -> bytes:
    """Encode a bool mask as a GIF of 0 and 255, as SCR has it."""
    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(stream, 'GIF')
    return stream.getvalue()


def _write_raw(root: Path, case_id: str, fold: int, phantom: ChestXrayPhantom) -> None:
    """Write a case as ``.IMG`` file and five masks of half its size."""
    # Film: high numbers are dark.
    values = np.rint((1 - phantom.image) * 4095).astype('>u2')
    atomic_write_bytes(root / 'All247images' / f'{case_id}.IMG', values.tobytes())
    half = tuple(length // 2 for length in values.shape[::-1])
    for folder, name in STRUCTURES.items():
        mask = getattr(phantom, name).astype(np.float32)
        small = cv2.resize(mask, half, interpolation=cv2.INTER_AREA) >= 0.5
        atomic_write_bytes(
            root / 'scratch' / f'fold{fold}' / 'masks' / folder / f'{case_id}.gif', _gif(small)
        )


def write_jsrt(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 256,
    mat: bool = False,
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in the raw form of JSRT.

    ``All247images/JPC{L,N}N<3 digits>.IMG``: 12 bits in big-endian words of 16, no header, high
    numbers dark; ``scratch/fold{1,2}/masks/<structure>/<id>.gif`` of half the size, odd numbers in
    fold 1. With ``mat``, one file ``jsrt.mat`` instead: ``x_train`` (N, H, W) float64 in [0, 1],
    ``y_train`` (N, H, W, 2) uint8, right and left lung, and so on for ``val`` and ``test``.

    Args:
        root: Folder to write to.
        num_cases: Number of photographs.
        seed: Same seed, same files.
        size: Edge length in pixels, made even; 2048 in JSRT, 256 in ``jsrt.mat``.
        mat: Write ``jsrt.mat``.
        track: Shows progress.

    Returns:
        Per photograph its id, whether it has a nodule, and the lungs' share of the area.
    """
    size += size % 2
    nodules = int(draw_labels(case_rng(seed, 0), num_cases, NODULE_SHARE).sum())
    plan = [('JPCLN', number + 1, True) for number in range(nodules)]
    plan += [('JPCNN', number + 1, False) for number in range(num_cases - nodules)]
    truth, phantoms = [], []
    for index, (prefix, number, nodule) in enumerate(track(plan, 'chest X-ray phantoms')):
        body = draw_anatomy(case_rng(seed, 10, index))
        phantom = render_chest_xray(
            case_rng(seed, 11, index), (size, size), body, CAMERAS['jsrt'], nodule=nodule
        )
        case_id = f'{prefix}{number:03d}'
        if mat:
            masks = np.stack([phantom.right_lung, phantom.left_lung], axis=-1)
            phantoms.append((phantom.image.astype(np.float64), masks.astype(np.uint8)))
        else:
            _write_raw(root, case_id, 2 - number % 2, phantom)
        truth.append(
            {
                'id': case_id,
                'nodule': int(nodule),
                'lung_share': round(float(phantom.lungs.mean()), 4),
            }
        )
    if mat:
        order = case_rng(seed, 1).permutation(num_cases)
        bounds = np.cumsum([0, *divide(num_cases, MAT_RATIO)])
        arrays = {}
        for split, low, high in zip(('train', 'val', 'test'), bounds, bounds[1:], strict=False):
            chosen = [phantoms[at] for at in order[low:high]]
            shape = (len(chosen), size, size)
            arrays[f'x_{split}'] = np.array([x for x, _ in chosen]).reshape(shape)
            arrays[f'y_{split}'] = np.array([y for _, y in chosen]).reshape(*shape, 2)
        _write_mat(root / 'jsrt.mat', arrays)
    return truth


def _write_mat(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a MATLAB file whose bytes depend on its content alone."""
    stream = io.BytesIO()
    savemat(stream, arrays, do_compression=True)
    data = bytearray(stream.getvalue())
    # The first 116 bytes are a text with the time of writing.
    data[:116] = b'MATLAB 5.0 MAT-file, phantoms'.ljust(116)
    atomic_write_bytes(path, bytes(data))
