"""Count the operations and parameters of a config's model; print JSON.

Example: python tools/analysis_tools/get_flops.py configs/uml/uml_res2net_refuge.py --shape 256 256
"""

import argparse
import json

from mmjoint.apis.complexity import count_operations
from mmjoint.apis.config import OptionsAction, load_config
from mmjoint.utils.cli import run_cli
from mmjoint.utils.io import atomic_write_json


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('--shape', nargs='+', type=int, default=[256, 256], metavar='N')
    parser.add_argument('--channels', type=int, default=3, help='channels of the input')
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--out', help='JSON file to write')
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction, metavar='KEY=VALUE')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Count one config."""
    args = parse_args(argv)
    cfg = load_config(args.config, args.cfg_options)
    result = count_operations(cfg, args.shape, channels=args.channels, batch_size=args.batch_size)
    if args.out:
        atomic_write_json(args.out, result)
    print(json.dumps(result, indent=1))


if __name__ == '__main__':
    run_cli(main)
