"""Turn an official checkpoint into one of this toolbox.

The result loads with `tools/test.py` and as `load_from` of a config. Every key must be accounted
for: a key left over or missing ends the conversion.
"""

import argparse
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmjoint.apis.converters import CONVERTERS, check_fit, read_official
from mmjoint.registry import MODELS
from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_path

ROOT = Path(__file__).resolve().parents[2]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('method', choices=sorted(CONVERTERS), help='whose checkpoint it is')
    parser.add_argument('source', help='official checkpoint')
    parser.add_argument('target', help='file to write')
    parser.add_argument('--config', help="config of the model (default: the method's own)")
    parser.add_argument('--overwrite', action='store_true', help='replace an existing target')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Convert one checkpoint."""
    args = parse_args(argv)
    if Path(args.target).exists() and not args.overwrite:
        raise UserError(f'{args.target}: exists already; pass --overwrite to replace it')
    converter = CONVERTERS[args.method]
    official, metadata = read_official(args.source, converter.metadata)
    state = converter.convert(official)
    cfg = Config.fromfile(args.config or ROOT / converter.config)
    cfg.merge_from_dict(converter.options(official))
    init_default_scope('mmjoint')
    model = converter.choose(MODELS.build(cfg.model))
    state = converter.complete(state, model)
    check_fit(model, state, args.source)
    meta = {**metadata, 'converted_from': Path(args.source).name, 'method': args.method}
    with atomic_path(args.target) as temporary:
        torch.save({'state_dict': state, 'meta': meta}, temporary)
    print(f'{args.target}: {len(state)} tensors of {len(official)} in {args.source}')


if __name__ == '__main__':
    run_cli(main)
