"""Prepare DRIVE (vessels).

Origin: Staal et al., "Ridge-based vessel segmentation in color images of the retina", IEEE TMI 23
(2004), https://drive.grand-challenge.org. 20 photographs for training and 20 for testing.

RAW_ROOT holds, in any nesting, for training and testing

* ``images/<nn>_{training,test}.tif``
* ``1st_manual/<nn>_manual1.gif``, the masks of the first observer
* ``mask/<nn>_{training,test}_mask.gif``, the field of view; where it is not there, it is found

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

SPLITS = {'train': 'training', 'test': 'test'}
PHOTOGRAPH = re.compile(r'(\d{2}_(?:training|test))\.(?:tif|tiff|png|jpg)', re.I)
VESSELS = re.compile(r'(\d{2})_manual1\.(?:gif|png|tif)', re.I)
FIELD = re.compile(r'(\d{2}_(?:training|test))_mask\.(?:gif|png|tif)', re.I)


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

    def indexed(pattern: re.Pattern[str]) -> dict[str, Path]:
        def key(path: Path) -> str | None:
            found = pattern.fullmatch(path.name)
            return found and found[1].lower()

        return index_files(files, key, raw_root, problems)

    problems = Problems()
    images, vessels, fields = indexed(PHOTOGRAPH), indexed(VESSELS), indexed(FIELD)
    if not images or not vessels:
        raise UserError(
            f'{raw_root}: expected images/<nn>_training.tif and 1st_manual/<nn>_manual1.gif, found '
            f'{contents(raw_root)}; unpack the archive there'
        )
    numbers = {case_id[:2]: case_id for case_id in images}  # unique: 01 to 20 test, 21 to 40 train
    masks = {numbers.get(number, f'{number}_?'): path for number, path in vessels.items()}
    check_pairs(images, masks, 'the mask 1st_manual/{:.2}_manual1.gif', problems)
    problems.raise_if_any()
    return {
        split: [
            Case(case_id, path, {'vessel': {'vessel': masks[case_id]}}, fov=fields.get(case_id))
            for case_id, path in images.items()
            if case_id.endswith(name)
        ]
        for split, name in SPLITS.items()
    }


RECIPE = Recipe('drive', 'drive', find_cases, official={'train': 20, 'test': 20})


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
