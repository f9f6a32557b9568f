"""Measure time and peak memory of sliding-window inference beside MONAI's; print JSON.

Example: python tools/analysis_tools/benchmark_sliding_window.py --shape 128 256 256
--classes 14 --roi 64 128 128 --overlap 0.5 --threads 2 --out sliding_window.json
"""

import argparse
import json

from mmjoint.apis.window_benchmark import FORMS, WindowBenchmarkOptions, run_window_benchmark
from mmjoint.utils.cli import run_cli
from mmjoint.utils.io import atomic_write_json


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    default = WindowBenchmarkOptions()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--shape', nargs='+', type=int, default=default.shape, metavar='N', help='of the volume'
    )
    parser.add_argument('--classes', type=int, default=default.num_classes, dest='num_classes')
    parser.add_argument(
        '--roi',
        nargs='+',
        type=int,
        default=default.roi_size,
        metavar='N',
        dest='roi_size',
        help='size of a window',
    )
    parser.add_argument('--overlap', type=float, default=default.overlap, help='a fraction')
    parser.add_argument('--weights', choices=('uniform', 'gaussian'), default=default.weights)
    parser.add_argument(
        '--average',
        choices=('raw', 'probs'),
        default=default.average,
        help='logits, or their softmax',
    )
    parser.add_argument('--window-batch', type=int, default=1, help='windows per call')
    parser.add_argument('--kernel', type=int, default=1, help='of the convolution that predicts')
    parser.add_argument('--iters', type=int, default=default.iters, help='measured runs')
    parser.add_argument('--threads', type=int, help='CPU threads of torch')
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--forms', nargs='+', choices=FORMS, default=FORMS)
    parser.add_argument('--out', help='JSON file to write')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure all forms."""
    args = vars(parse_args(argv))
    out = args.pop('out')
    result = run_window_benchmark(WindowBenchmarkOptions(**args))
    if out:
        atomic_write_json(out, result)
    print(json.dumps(result, indent=1))


if __name__ == '__main__':
    run_cli(main)
