"""Prepare ARIA (vessels).

Origin: Farnell et al., "Enhancement of blood vessels in digital fundus photographs via the
application of multiscale line operators", J. Franklin Institute 345 (2008),
http://www.damianjjfarnell.com/?page_id=276. 143 photographs of three groups: macular degeneration
(``a``), controls (``c``), diabetes (``d``), all for testing.

RAW_ROOT holds, in any nesting,

* the photographs ``aria_{a,c,d}_markups/aria_<group>_<numbers>.tif``
* the masks ``aria_{a,c,d}_markup_vessel/<id>_{BDP,BSS}.tif`` of two observers

Photographs are padded with black to squares, label maps alike; nothing is cropped or resized. Each
record tells the frame, so that predictions can be brought back. Label map ``vessel``: 0 background,
1 vessel.
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

PHOTOGRAPH = re.compile(r'aria_[a-z]_[0-9_]+')


def _image(path: Path) -> str | None:
    """The id of a photograph."""
    named = path.suffix.lower() in ('.tif', '.tiff') and PHOTOGRAPH.fullmatch(path.stem)
    return path.stem if named else None


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
        named = path.suffix.lower() in ('.tif', '.tiff') and path.stem.endswith(f'_{observer}')
        return path.stem.removesuffix(f'_{observer}') if named else None

    problems = Problems()
    images = index_files(files, _image, raw_root, problems)
    masks = index_files(files, mask, raw_root, problems)
    if not images or not masks:
        raise UserError(
            f'{raw_root}: expected photographs aria_<group>_<numbers>.tif and masks '
            f'<id>_{observer}.tif, found {contents(raw_root)}; unpack the archives there'
        )
    check_pairs(images, masks, f'the mask {{}}_{observer}.tif', problems)
    problems.raise_if_any()
    return {
        'test': [
            Case(case_id, path, {'vessel': {'vessel': masks[case_id]}})
            for case_id, path in images.items()
        ]
    }


RECIPE = Recipe(
    'aria',
    'aria',
    find_cases,
    official={'test': 143},
    crop=False,
    observers=('BDP', 'BSS'),
)


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
