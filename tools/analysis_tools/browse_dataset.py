"""Write pictures of what the pipeline hands to the network, and a contact sheet of them.

Example: python tools/analysis_tools/browse_dataset.py configs/uml/uml_res2net_refuge.py --num 8
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import ProgressBar
from torch import Tensor

from mmjoint.apis.config import OptionsAction, building, load_config
from mmjoint.registry import DATASETS
from mmjoint.structures import JointDataSample
from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError
from mmjoint.utils.pictures import to_picture
from mmjoint.utils.random import SeededIndex, derive_seed
from mmjoint.visualization import JointVisualizer
from mmjoint.visualization.drawing import contact_sheet, write_image


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', choices=('train', 'val', 'test'), default='train')
    parser.add_argument('--num', type=int, default=16, help='samples, spread over the split')
    parser.add_argument('--out-dir', help='folder; work_dirs/CONFIG/browse_SPLIT by default')
    parser.add_argument('--columns', type=int, default=2, help='of the contact sheet')
    parser.add_argument('--seed', type=int, default=0, help='of the random transforms')
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction, metavar='KEY=VALUE')
    args = parser.parse_args(argv)
    for name in ('num', 'columns'):
        if getattr(args, name) < 1:
            parser.error(f'--{name}: expected a number >= 1, found {getattr(args, name)}')
    return args


def build_dataset(cfg: Config, split: str) -> Any:
    """Build the data set of a split.

    Raises:
        UserError: If the config has none for this split, or it cannot be built.
    """
    loader = cfg.get(f'{split}_dataloader')
    if not loader or 'dataset' not in loader:
        raise UserError(
            f'{cfg.filename}: has no {split}_dataloader with a dataset; choose another --split'
        )
    init_default_scope('mmjoint')
    with building(cfg):
        dataset = DATASETS.build(loader['dataset'])
    if len(dataset) == 0:
        raise UserError(f'{cfg.filename}: the {split} split has no samples')
    return dataset


def branches_of(packed: dict[str, Any]) -> Iterator[tuple[str, Tensor, JointDataSample]]:
    """Give what a pipeline packed, per branch of a semi-supervised model; '' is the only one."""
    inputs, samples = packed['inputs'], packed['data_samples']
    if not isinstance(inputs, dict):
        inputs, samples = {'': inputs}, {'': samples}
    for branch, image in inputs.items():
        if image is not None:
            yield branch, image, samples[branch]


def main(argv: list[str] | None = None) -> None:
    """Browse one split."""
    args = parse_args(argv)
    cfg = load_config(args.config, args.cfg_options)
    dataset = build_dataset(cfg, args.split)
    default = Path('work_dirs') / Path(args.config).stem / f'browse_{args.split}'
    out_dir = Path(args.out_dir) if args.out_dir else default
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f'{out_dir}: expected a folder for --out-dir, found a file')
    visualizer = JointVisualizer(name='browse_dataset')
    visualizer.dataset_meta = dataset.metainfo
    number = min(args.num, len(dataset))
    chosen = np.unique(np.linspace(0, len(dataset) - 1, number).round().astype(int))
    progress = ProgressBar(len(chosen))
    tiles = []
    for index in chosen:
        packed = dataset[SeededIndex(int(index), derive_seed(args.seed, int(index)))]
        for branch, image, sample in branches_of(packed):
            stem = Path(sample.metainfo.get('img_path', '')).stem or 'sample'
            parts = [part for part in (stem, branch) if part]
            drawn = visualizer.draw(
                to_picture(image), sample, draw_pred=False, caption=f'{index}: {", ".join(parts)}'
            )
            write_image(out_dir / f'{index:05d}_{"_".join(parts)}.png', drawn)
            tiles.append(drawn)
        progress.update()
    sheet = out_dir / 'contact_sheet.png'
    write_image(sheet, contact_sheet(tiles, args.columns))
    print(f'\n{len(tiles)} pictures and {sheet.name} are in {out_dir}')


if __name__ == '__main__':
    run_cli(main)
