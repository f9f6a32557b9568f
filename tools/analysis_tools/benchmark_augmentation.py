"""Measure processor seconds per patch of the augmentation, plain and fast; print JSON.

Example: python tools/analysis_tools/benchmark_augmentation.py --shape 64 128 128 --classes 14
--out augmentation.json
"""

import argparse
import json

from mmjoint.apis.augmentation_benchmark import (
    AugmentationBenchmarkOptions,
    run_augmentation_benchmark,
)
from mmjoint.apis.config import load_config
from mmjoint.apis.failures import speaking_once
from mmjoint.utils.cli import run_cli
from mmjoint.utils.io import atomic_write_json


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    default = AugmentationBenchmarkOptions()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'augmentation',
        nargs='?',
        default='configs/_base_/datasets/strong-augmentation_3d.py',
        help='config file with the key augmentation',
    )
    parser.add_argument(
        '--shape', nargs='+', type=int, default=default.shape, metavar='N', help='of the patch'
    )
    parser.add_argument('--classes', type=int, default=default.num_classes, dest='num_classes')
    parser.add_argument('--iters', type=int, default=default.iters, help='patches per operation')
    parser.add_argument(
        '--chain-iters', type=int, default=default.chain_iters, help='patches through the chain'
    )
    parser.add_argument('--seed', type=int, default=default.seed)
    parser.add_argument('--out', help='JSON file to write')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure all operations."""
    args = vars(parse_args(argv))
    config, out = args.pop('augmentation'), args.pop('out')
    with speaking_once():
        result = run_augmentation_benchmark(
            load_config(config), AugmentationBenchmarkOptions(**args)
        )
    if out:
        atomic_write_json(out, result)
    print(json.dumps(result, indent=1))


if __name__ == '__main__':
    run_cli(main)
