"""Prepare IDRiD (lesions and optic disc), its part A.

Origin: Porwal et al., "Indian Diabetic Retinopathy Image Dataset", Data 3 (2018) 25,
https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid (CC BY 4.0).
54 photographs for training and 27 for testing.

RAW_ROOT holds, in any nesting, part "A. Segmentation":

* ``a. Training Set/IDRiD_<nn>.jpg``, ``b. Testing Set/IDRiD_<nn>.jpg``
* ``IDRiD_<nn>_{MA,HE,EX,SE}.tif``; no file where there is no such lesion
* ``IDRiD_<nn>_OD.tif``: the optic disc, where it is wanted

Photographs are cut to the field of view and padded with black to squares, label maps alike; nothing
is resized. Each record tells the frame, so that predictions can be brought back.
Label map ``lesion``: 0 background, 1 EX, 2 HE, 3 SE, 4 MA; where masks overlap, the later one.
The folder ``od`` has maps of the disc, 0 and 1, which ``od_map_path`` of a record names; the cup is
not labelled, so they are no label map of the task ``odoc``.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import fundus_tasks
from common import Problems, note
from fundus_tasks import LESIONS, Case, Cases, Recipe, check_images, index_files, lesion_masks
from reading import contents

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError

PHOTOGRAPH = re.compile(r'(IDRiD_\d{2})\.(?:jpg|jpeg)', re.I)
MASK = re.compile(r'(IDRiD_\d{2})_(EX|HE|SE|MA|OD)\.(?:tif|tiff|png)', re.I)
SPLITS = {'train': 'training', 'test': 'testing'}


def _mask_of(kind: str, path: Path) -> str | None:
    """The id of a mask of one kind."""
    found = MASK.fullmatch(path.name)
    return found[1] if found and found[2].upper() == kind else None


def _image(path: Path) -> str | None:
    """The id of a photograph."""
    found = PHOTOGRAPH.fullmatch(path.name)
    return found and found[1]


def _split(path: Path, raw_root: Path) -> str:
    """The split that the folders of a photograph tell."""
    folders = ' '.join(path.relative_to(raw_root).parts[:-1]).casefold()
    told = [split for split, name in SPLITS.items() if name in folders]
    if len(told) != 1:
        raise UserError(
            f'{path}: expected it in a folder "a. Training Set" or "b. Testing Set", found '
            f'{"both" if told else "neither"}; restore the official folders'
        )
    return told[0]


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
    images = index_files(files, _image, raw_root, problems)
    masks = {
        kind: index_files(files, lambda path, kind=kind: _mask_of(kind, path), raw_root, problems)
        for kind in (*LESIONS, 'OD')
    }
    if not images or not any(masks[kind] for kind in LESIONS):
        raise UserError(
            f'{raw_root}: expected photographs IDRiD_<nn>.jpg and masks IDRiD_<nn>_<kind>.tif, '
            f'found {contents(raw_root)}; unpack part A there'
        )
    for kind, found in masks.items():
        check_images(images, found, problems)
        if not found:
            note(f'no mask IDRiD_<nn>_{kind}.tif was found')
    cases: Cases = {split: [] for split in SPLITS}
    for case_id, path in images.items():
        parts = {'lesion': lesion_masks(masks, case_id)}
        if masks['OD']:
            parts['od'] = {'disc': masks['OD'].get(case_id)}
        with problems.collect():
            if not parts['lesion']:
                raise UserError(
                    f'{path}: expected a mask {case_id}_<kind>.tif of at least one lesion, found '
                    'none; unpack the masks again'
                )
            if masks['OD'] and case_id not in masks['OD']:
                raise UserError(
                    f'{path}: expected {case_id}_OD.tif, found none; unpack the masks again'
                )
            cases[_split(path, raw_root)].append(Case(case_id, path, parts))
    problems.raise_if_any()
    return cases


RECIPE = Recipe('idrid', 'idrid', find_cases, official={'train': 54, 'test': 27})


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
