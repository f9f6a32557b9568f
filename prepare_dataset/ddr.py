"""Prepare DDR (four kinds of lesions), its part on segmentation.

Origin: Li et al., "Diagnostic assessment of deep learning algorithms for diabetic retinopathy
screening", Information Sciences 501 (2019), https://github.com/nkicsl/DDR-dataset. 757 photographs
of many sizes, 383 for training, 149 for validation, 225 for testing.

RAW_ROOT holds, in any nesting,

* ``{train,valid,test}/image/<id>.jpg``
* ``{train,test}/label/{EX,HE,MA,SE}/<id>.tif``, ``valid/segmentation label/...``; files in PNG are
  read, too

Photographs are cut to the field of view and padded with black to squares, label maps alike; nothing
is resized. Each record tells the frame, so that predictions can be brought back.
Label map ``lesion``: 0 background, 1 EX, 2 HE, 3 SE, 4 MA; where masks overlap, the later one.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import fundus_tasks
from common import Problems, note
from fundus_tasks import (
    LESIONS,
    Case,
    Cases,
    Recipe,
    check_images,
    has_parent,
    index_files,
    lesion_masks,
)
from reading import contents

from mmjoint.utils.cli import run_cli

SPLITS = {'train': ('train',), 'val': ('valid', 'val'), 'test': ('test',)}
LABELS = ('label', 'labels', 'segmentation label')


def _image(path: Path, folders: Sequence[str]) -> str | None:
    """The id of a photograph of a split."""
    named = path.suffix.lower() in ('.jpg', '.jpeg') and has_parent(path, 'image', 'images')
    return path.stem if named and has_parent(path, *folders) else None


def _mask(path: Path, kind: str, folders: Sequence[str]) -> str | None:
    """The id of a mask of one kind in a split."""
    named = path.suffix.lower() in ('.tif', '.tiff', '.png') and has_parent(path, *LABELS)
    placed = path.parent.name.upper() == kind and has_parent(path, *folders)
    return path.stem if named and placed else None


def find_cases(raw_root: Path, files: Sequence[Path], observer: str | None = None) -> Cases:
    """Find the cases of all splits.

    Args:
        raw_root: Folder of the raw files.
        files: All files below it, relative.
        observer: Not used; the masks are those of one observer.

    Returns:
        Split -> cases, sorted by id.

    Raises:
        UserError: Something is missing or there twice; the first few are named.
    """
    del observer
    problems = Problems()
    cases: Cases = {split: [] for split in SPLITS}
    for split, folders in SPLITS.items():
        images = index_files(
            files, lambda path, folders=folders: _image(path, folders), raw_root, problems
        )
        masks = {
            kind: index_files(
                files,
                lambda path, kind=kind, folders=folders: _mask(path, kind, folders),
                raw_root,
                problems,
            )
            for kind in LESIONS
        }
        if not images or not any(masks.values()):
            problems.messages.append(
                f'{raw_root}: expected photographs {folders[0]}/image/<id>.jpg and masks '
                f'{folders[0]}/label/<kind>/<id>.tif for the {split} split, found '
                f'{contents(raw_root)}; unpack the part lesion_segmentation there'
            )
            continue
        for kind, found in masks.items():
            check_images(images, found, problems)
            if not found:
                note(f'no mask of {kind} was found for the {split} split')
        for case_id, path in images.items():
            parts = lesion_masks(masks, case_id)
            if parts:
                cases[split].append(Case(case_id, path, {'lesion': parts}))
            else:
                problems.messages.append(
                    f'{path}: expected a mask <kind>/{case_id}.tif of at least one lesion, found '
                    'none; unpack the masks again'
                )
    problems.raise_if_any()
    return cases


RECIPE = Recipe('ddr', 'ddr', find_cases, official={'train': 383, 'val': 149, 'test': 225})


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    return fundus_tasks.build_parser(RECIPE, __doc__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Its words; ``None`` means ``sys.argv[1:]``.
    """
    fundus_tasks.run(RECIPE, __doc__, argv)


if __name__ == '__main__':
    run_cli(main)
