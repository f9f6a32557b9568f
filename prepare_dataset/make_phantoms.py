"""Make procedural images in the raw layout of a data set, to try everything without its files.

The files, folders, label encodings and sheet columns are those in which the real set is
distributed, so that ``prepare_dataset/<dataset>.py`` reads them like the real ones. What is known
about each case (label, vendor, cup/disc ratio, ...) is in ``phantom_info.json`` beside them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import PHANTOM_FILE, bounded, image_size, new_folder, progress, seed_number

from mmjoint.phantoms import PHANTOM_SETS, Option, PhantomSet
from mmjoint.utils.cli import run_cli
from mmjoint.utils.io import atomic_write_json


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    """Add an option of a phantom set to its parser."""
    flag = '--' + option.name.replace('_', '-')
    if isinstance(option.default, bool):
        parser.add_argument(flag, action='store_true', help=option.help)
        return
    several = isinstance(option.default, tuple)
    kind = type(option.default[0] if several else option.default)

    parser.add_argument(
        flag,
        type=bounded(kind, option.minimum, option.maximum),
        nargs=len(option.default) if several else None,
        default=option.default,
        help=f'{option.help} (default: {option.default})',
    )


def make_phantoms(
    dataset: str,
    raw_root: Path,
    *,
    num_cases: int,
    seed: int = 0,
    size: int | None = None,
    overwrite: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """Write phantoms; nothing is left under ``raw_root`` unless all is well.

    Args:
        dataset: Key of :data:`mmjoint.phantoms.PHANTOM_SETS`.
        raw_root: Folder to make.
        num_cases: Number of cases in all splits together.
        seed: Same seed, same files.
        size: See the entry of the set; ``None`` is its default.
        overwrite: Replace earlier phantoms.
        **options: Further keywords of the set's writer.

    Returns:
        What is known about each case.

    Raises:
        UserError: ``raw_root`` may not be replaced.
    """
    phantoms = PHANTOM_SETS[dataset]
    size = phantoms.size if size is None else size
    with new_folder(raw_root, overwrite=overwrite, marker=PHANTOM_FILE) as root:
        cases = phantoms.write(
            root, num_cases=num_cases, seed=seed, size=size, track=progress, **options
        )
        info = {
            'dataset': dataset,
            'phantom': True,
            'num_cases': num_cases,
            'seed': seed,
            'size': size,
            'options': options,
            'cases': cases,
        }
        atomic_write_json(root / PHANTOM_FILE, info)
    return cases


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line, with a subcommand per data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sets = parser.add_subparsers(dest='dataset', metavar='DATASET', required=True)
    for name, phantoms in PHANTOM_SETS.items():
        _add_set(sets.add_parser(name, help=f'phantoms in the raw layout of {name}'), phantoms)
    return parser


def _add_set(parser: argparse.ArgumentParser, phantoms: PhantomSet) -> None:
    """Add the arguments of one phantom set."""
    parser.add_argument('raw_root', type=Path, metavar='RAW_ROOT', help='folder to make')
    parser.add_argument(
        '--num-cases', type=bounded(int, 1), default=60, help='cases in all splits (default: 60)'
    )
    parser.add_argument(
        '--seed', type=seed_number, default=0, help='same seed, same files (default: 0)'
    )
    parser.add_argument(
        '--size',
        type=image_size,
        default=phantoms.size,
        help=f'{phantoms.size_help} (default: {phantoms.size})',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace earlier phantoms')
    for option in phantoms.options:
        _add_option(parser, option)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Its words; ``None`` means ``sys.argv[1:]``.
    """
    args = vars(build_parser().parse_args(argv))
    cases = make_phantoms(args.pop('dataset'), raw_root := args.pop('raw_root'), **args)
    print(f'{raw_root}: {len(cases)} cases')


if __name__ == '__main__':
    run_cli(main)
