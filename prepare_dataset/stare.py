"""Prepare STARE (vessels).

Origin: Hoover, Kouznetsova, Goldbaum, "Locating blood vessels in retinal images by piecewise
threshold probing of a matched filter response", IEEE TMI 19 (2000),
https://cecas.clemson.edu/~ahoover/stare. 20 photographs, all for testing.

RAW_ROOT holds, in any nesting, each packed (``.gz``) or not,

* the photographs ``im<nnnn>.ppm``
* the masks ``im<nnnn>.{ah,vk}.ppm`` of two observers

Photographs are cut to the field of view and padded with black to squares, label maps alike; nothing
is resized. Each record tells the frame, so that predictions can be brought back.
Label map ``vessel``: 0 background, 1 vessel.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import fundus_tasks
from common import Problems
from fundus_tasks import Case, Cases, Recipe, check_pairs, index_files
from reading import contents

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError

PHOTOGRAPH = re.compile(r'(im\d{4})\.(?:ppm|png|jpg)(?:\.gz)?', re.I)
MASK = r'(im\d{{4}})\.{}\.(?:ppm|png)(?:\.gz)?'


def _image(path: Path) -> str | None:
    """The id of a photograph."""
    found = PHOTOGRAPH.fullmatch(path.name)
    return found and found[1].lower()


def find_cases(raw_root: Path, files: Sequence[Path], observer: str | None = None) -> Cases:
    """Find the cases of all splits.

    Args:
        raw_root: Folder of the raw files.
        files: All files below it, relative.
        observer: Whose masks.

    Returns:
        Split -> cases, sorted by id.

    Raises:
        UserError: Something is missing or there twice; the first few are named.
    """

    def mask(path: Path) -> str | None:
        found = re.fullmatch(MASK.format(observer), path.name, re.I)
        return found and found[1].lower()

    problems = Problems()
    images = index_files(files, _image, raw_root, problems)
    masks = index_files(files, mask, raw_root, problems)
    if not images or not masks:
        raise UserError(
            f'{raw_root}: expected photographs im<nnnn>.ppm and masks im<nnnn>.{observer}.ppm, '
            f'found {contents(raw_root)}; unpack the archives there'
        )
    check_pairs(images, masks, f'the mask {{}}.{observer}.ppm', problems)
    problems.raise_if_any()
    return {
        'test': [
            Case(case_id, path, {'vessel': {'vessel': masks[case_id]}})
            for case_id, path in images.items()
        ]
    }


RECIPE = Recipe('stare', 'stare', find_cases, official={'test': 20}, observers=('vk', 'ah'))


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
