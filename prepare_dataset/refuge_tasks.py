"""Prepare REFUGE as one of the fundus sets: optic disc and cup at full size.

Origin, licence and raw layouts: see ``refuge.py``, which prepares the same files as small squares
with the label glaucoma.

Photographs are padded with black to squares, label maps alike; nothing is cropped or resized. Each
record tells the frame, so that predictions can be brought back. Label map ``odoc``: 0 background,
1 rim (disc without cup), 2 cup.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import fundus_tasks
import refuge_layout
from common import SPLITS, Problems
from fundus_tasks import Case, Cases, Recipe

from mmjoint.utils.cli import run_cli


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
    for split in SPLITS:
        with problems.collect():
            cases[split] = [
                Case(case.case_id, case.image, {'odoc': {'map': case.mask}})
                for case in refuge_layout.find_cases(raw_root, files, split)
            ]
    problems.raise_if_any()
    return cases


RECIPE = Recipe(
    'refuge_tasks',
    'refuge',
    find_cases,
    official={split: 400 for split in SPLITS},
    crop=False,
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
