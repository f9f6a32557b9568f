"""Chest X-ray phantoms in the folders in which the Montgomery County set is distributed."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmjoint.utils.io import atomic_write_text

from .chest_xray import CAMERAS, draw_anatomy, render_chest_xray
from .common import Track, case_rng, draw_labels, untracked, write_image

FOLDER = 'MontgomerySet'
TUBERCULOSIS_SHARE = 58 / 138


def write_montgomery(
    root: Path,
    *,
    num_cases: int,
    seed: int,
    size: int = 512,
    track: Track = untracked,
) -> list[dict[str, Any]]:
    """Write phantoms in the raw layout of the Montgomery County set: another device than JSRT's.

    ``MontgomerySet/{CXR_png,ManualMask/{leftMask,rightMask}}/MCUCXR_<4 digits>_{0,1}.png`` and
    ``ClinicalReadings/<the same name>.txt``; the last digit is 1 with tuberculosis.

    Args:
        root: Folder to write to.
        num_cases: Number of photographs.
        seed: Same seed, same files.
        size: Longer side in pixels; the shorter one is 0.82 of it, as in the real set.
        track: Shows progress.

    Returns:
        Per photograph its id, whether it shows tuberculosis, and the lungs' share of the area.
    """
    labels = draw_labels(case_rng(seed, 0), num_cases, TUBERCULOSIS_SHARE).tolist()
    truth = []
    for index, ill in enumerate(track(labels, 'chest X-ray phantoms')):
        body = draw_anatomy(case_rng(seed, 10, index))
        rng = case_rng(seed, 11, index)
        sides = (round(0.82 * size), size)
        shape = sides if rng.random() < 0.8 else sides[::-1]
        phantom = render_chest_xray(
            rng, shape, body, CAMERAS['montgomery'], pneumonia='virus' if ill else None
        )
        name = f'MCUCXR_{index + 1:04d}_{ill}'
        folder = root / FOLDER
        write_image(
            folder / 'CXR_png' / f'{name}.png', np.rint(phantom.image * 255).astype(np.uint8)
        )
        for side, mask in (('left', phantom.left_lung), ('right', phantom.right_lung)):
            path = folder / 'ManualMask' / f'{side}Mask' / f'{name}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            # The real masks have one bit per pixel.
            _, data = cv2.imencode(
                '.png', mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1]
            )
            path.write_bytes(data.tobytes())
        sex, age = rng.choice(['F', 'M']), rng.integers(10, 90)
        reading = 'infiltrates consistent with active tuberculosis' if ill else 'normal'
        atomic_write_text(
            folder / 'ClinicalReadings' / f'{name}.txt',
            f"Patient's Sex: {sex}\nPatient's Age: {age:03d}Y\n{reading}\n",
        )
        truth.append(
            {
                'id': name,
                'tuberculosis': int(ill),
                'lung_share': round(float(phantom.lungs.mean()), 4),
            }
        )
    return truth
