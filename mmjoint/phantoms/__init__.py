"""Procedural images in the raw layouts of the real data sets; no torch.

A further set is one entry in :data:`PHANTOM_SETS`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .breast_mr import write_ispy1
from .chest_xray_raw import write_chest_xray_pneumonia, write_nih_pneumonia
from .common import Track
from .ddr_raw import write_ddr
from .idrid_raw import write_idrid, write_reta
from .isic_raw import write_isic2016
from .jsrt_raw import write_jsrt
from .la_raw import write_la
from .mmwhs_raw import write_mmwhs
from .mnms_raw import write_mnms
from .montgomery_raw import write_montgomery
from .refuge_raw import write_refuge, write_refuge_tasks
from .synapse_raw import write_synapse
from .vessel_sets_raw import write_aria, write_drive, write_stare

__all__ = [
    'PHANTOM_SETS',
    'Option',
    'PhantomSet',
    'Track',
    'write_aria',
    'write_chest_xray_pneumonia',
    'write_ddr',
    'write_drive',
    'write_idrid',
    'write_isic2016',
    'write_ispy1',
    'write_jsrt',
    'write_la',
    'write_mmwhs',
    'write_mnms',
    'write_montgomery',
    'write_nih_pneumonia',
    'write_refuge',
    'write_refuge_tasks',
    'write_reta',
    'write_stare',
    'write_synapse',
]


@dataclass(frozen=True)
class Option:
    """An option of one phantom set on the command line.

    Args:
        name: Keyword of the writer; ``glaucoma_share`` becomes ``--glaucoma-share``.
        default: Its default, whose type (``bool``, ``int``, ``float``, ``str``, or a tuple of
            one of them) is the type of the option.
        help: What it does.
        minimum: Smallest value.
        maximum: Largest value.
    """

    name: str
    default: Any
    help: str
    minimum: float = -math.inf
    maximum: float = math.inf


@dataclass(frozen=True)
class PhantomSet:
    """A data set that phantoms can stand for.

    Args:
        write: ``write(root, *, num_cases, seed, size, track, **options) -> list[dict]``; writes
            the raw files and returns what is known about each case.
        size: Default of ``size``; what it measures is said in ``size_help``.
        size_help: Meaning of ``size``.
        options: Further keywords of ``write``.
    """

    write: Callable[..., list[dict[str, Any]]]
    size: int
    size_help: str
    options: tuple[Option, ...] = ()


PHANTOM_SETS: dict[str, PhantomSet] = {
    'refuge': PhantomSet(
        write_refuge,
        size=512,
        size_help='width of a training photograph (2124 in REFUGE); the others shrink alike',
        options=(
            Option('glaucoma_share', 0.1, 'share of glaucoma per split', 0, 1),
            Option('split_ratio', (1.0, 1.0, 1.0), 'relative sizes of train, val, test', 0.01),
            Option('nested_test_masks', False, 'put test masks into folders G and N'),
        ),
    ),
    'ispy1': PhantomSet(
        write_ispy1,
        size=128,
        size_help='edge length of a slice (256 in I-SPY1)',
        options=(Option('pcr_share', 43 / 157, 'share of complete responses', 0, 1),),
    ),
    'isic2016': PhantomSet(
        write_isic2016,
        size=512,
        size_help='width of the largest photographs (4288 in ISIC 2016)',
        options=(
            Option('hard_share', 0.25, 'share of pale lesions with a washed-out border', 0, 1),
            Option('split_ratio', (900.0, 379.0), 'relative sizes of training and test part', 0.01),
        ),
    ),
    'la': PhantomSet(
        write_la, size=112, size_help='longest edge of a volume in voxels (up to 270 in LA)'
    ),
    'synapse': PhantomSet(
        write_synapse, size=128, size_help='edge length of a slice in pixels (512 in Synapse)'
    ),
    'mmwhs': PhantomSet(
        write_mmwhs,
        size=96,
        size_help='longest edge of a volume in voxels (up to 512 in MMWHS)',
        options=(
            Option('modality_gap', 0.6, 'how far MR is from the contrast of CT', 0, 1),
            Option('dark_blood', False, 'blood below muscle in MR: the largest gap'),
        ),
    ),
    'mnms': PhantomSet(
        write_mnms,
        size=96,
        size_help='longer side of a slice in pixels (about 256 in M&Ms)',
        options=(Option('num_frames', 8, 'frames of a cine (25 to 30 in M&Ms)', 2, 100),),
    ),
    'chest_xray_pneumonia': PhantomSet(
        write_chest_xray_pneumonia,
        size=384,
        size_help='width of the largest images (up to 2916 in the real set)',
        options=(
            Option('pneumonia_share', 0.73, 'share of pneumonia in each split', 0, 1),
            Option('split_ratio', (8.0, 0.5, 2.0), 'relative sizes of train, val, test', 0.01),
        ),
    ),
    'jsrt': PhantomSet(
        write_jsrt,
        size=256,
        size_help='edge length of an image (2048 in JSRT, 256 in jsrt.mat)',
        options=(Option('mat', False, 'write jsrt.mat instead of .IMG files and masks'),),
    ),
    'montgomery': PhantomSet(
        write_montgomery, size=512, size_help='longer side of an image (4892 in the real set)'
    ),
    'nih_pneumonia': PhantomSet(
        write_nih_pneumonia,
        size=256,
        size_help='edge length of an image (1024 in NIH ChestX-ray14)',
        options=(Option('pneumonia_share', 0.34, 'share of pneumonia', 0, 1),),
    ),
    'reta': PhantomSet(
        write_reta,
        size=512,
        size_help='height of a photograph (2848 in IDRiD)',
        options=(Option('split_ratio', (54.0, 27.0), 'relative sizes: with masks, without', 0.01),),
    ),
    'ddr': PhantomSet(
        write_ddr,
        size=512,
        size_help='height of the largest photographs; the others have at least 0.8 of it',
        options=(
            Option(
                'split_ratio', (383.0, 149.0, 225.0), 'relative sizes of train, val, test', 0.01
            ),
        ),
    ),
    'refuge_tasks': PhantomSet(
        write_refuge_tasks,
        size=512,
        size_help='width of a training photograph (2124 in REFUGE); the others shrink alike',
        options=(
            Option('glaucoma_share', 0.25, 'share of glaucoma per split', 0, 1),
            Option('split_ratio', (1.0, 1.0, 1.0), 'relative sizes of train, val, test', 0.01),
            Option('nested_test_masks', False, 'put test masks into folders G and N'),
        ),
    ),
    'idrid': PhantomSet(
        write_idrid,
        size=512,
        size_help='height of a photograph (2848 in IDRiD)',
        options=(
            Option('split_ratio', (54.0, 27.0), 'relative sizes of training and test set', 0.01),
        ),
    ),
    'drive': PhantomSet(write_drive, size=584, size_help='height of a photograph (584 in DRIVE)'),
    'stare': PhantomSet(write_stare, size=605, size_help='height of a photograph (605 in STARE)'),
    'aria': PhantomSet(write_aria, size=576, size_help='height of a photograph (576 in ARIA)'),
}
