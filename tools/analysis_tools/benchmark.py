"""Measure seconds per iteration, images per second and peak memory of a config; print JSON.

Example: python tools/analysis_tools/benchmark.py configs/uml/uml_res2net_refuge.py
--synthetic 256 256 --batch-size 2 --threads 2 --out benchmark.json
"""

import argparse
import json

from mmjoint.apis.benchmark import BenchmarkOptions, run_benchmark
from mmjoint.apis.config import OptionsAction, load_config
from mmjoint.apis.failures import speaking_once
from mmjoint.utils.cli import run_cli
from mmjoint.utils.io import atomic_write_json


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--synthetic',
        nargs='+',
        type=int,
        metavar='N',
        help="made-up input of H W (or D H W) instead of the config's data",
    )
    parser.add_argument(
        '--batch-size', type=int, help="of all sources together, instead of the config's"
    )
    parser.add_argument(
        '--workers', type=int, help="processes that load the data, instead of the config's"
    )
    parser.add_argument('--iters', type=int, default=10, help='measured iterations')
    parser.add_argument('--warmup', type=int, default=2, help='iterations before them')
    parser.add_argument(
        '--keep-memory',
        action=argparse.BooleanOptionalAction,
        help='keep the memory of freed arrays for the next ones, as training does',
    )
    parser.add_argument('--threads', type=int, help='CPU threads of torch')
    parser.add_argument('--mode', choices=('train', 'infer'), default='train')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--progress', type=float, default=0.5, help='share of the training taken as finished'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--uq', metavar='NAME', help='with this uncertainty estimator (infer)')
    parser.add_argument(
        '--uq-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help="the estimator's settings: num_samples=20 fused=False",
    )
    parser.add_argument(
        '--ori-shape',
        nargs='+',
        type=int,
        metavar='N',
        help='size that predictions for made-up input are brought to',
    )
    parser.add_argument('--out', help='JSON file to write')
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction, metavar='KEY=VALUE')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure one config."""
    args = vars(parse_args(argv))
    config, out, overrides = args.pop('config'), args.pop('out'), args.pop('cfg_options')
    with speaking_once():
        result = run_benchmark(load_config(config, overrides), BenchmarkOptions(**args))
    if out:
        atomic_write_json(out, result)
    print(json.dumps(result, indent=1))


if __name__ == '__main__':
    run_cli(main)
