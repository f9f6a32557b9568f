"""Prepare RETA (vessels on the photographs of IDRiD).

Origin: Lyu, Cheng, Zhang, "The RETA benchmark for retinal vascular tree analysis", Scientific Data
2022, https://reta-benchmark.org (CC BY 4.0). 81 photographs, those of IDRiD; the masks of 54 are
public.

RAW_ROOT holds, in any nesting,

* the photographs ``IDRiD_<nn>.jpg``
* the masks ``IDRiD_<nn>_vessel.png``, above 0 where a vessel is

Photographs are cut to the field of view and padded with black to squares, label maps alike; nothing
is resized. Each record tells the frame, so that predictions can be brought back.
Photographs without mask are left out. Label map ``vessel``: 0 background, 1 vessel.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import fundus_tasks
from common import Problems, note
from fundus_tasks import Case, Cases, Recipe, check_images, index_files
from reading import contents

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError

PHOTOGRAPH = re.compile(r'(IDRiD_\d{2})\.(?:jpg|jpeg|png)', re.I)
MASK = re.compile(r'(IDRiD_\d{2})_vessel\.png', re.I)


def _key(pattern: re.Pattern[str], path: Path) -> str | None:
    """The id in a file name, ``None`` if it has none."""
    found = pattern.fullmatch(path.name)
    return found and found[1]


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
    images = index_files(files, lambda path: _key(PHOTOGRAPH, path), raw_root, problems)
    masks = index_files(files, lambda path: _key(MASK, path), raw_root, problems)
    for found, what in ((images, 'photographs IDRiD_<nn>.jpg'), (masks, 'IDRiD_<nn>_vessel.png')):
        if not found:
            raise UserError(
                f'{raw_root}: expected {what}, found {contents(raw_root)}; unpack both archives '
                'there'
            )
    check_images(images, masks, problems)
    problems.raise_if_any()
    if len(masks) < len(images):
        note(f'{len(images) - len(masks)} photographs have no mask and are left out')
    return {
        'train': [
            Case(case_id, images[case_id], {'vessel': {'vessel': path}})
            for case_id, path in masks.items()
        ]
    }


RECIPE = Recipe('reta', 'reta', find_cases, official={'train': 54})


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
