"""Plot scalars of training logs and print them as a table.

A log is a scalars.json that mmengine wrote, or the work directory of a run, whose logs are joined.
Example: python tools/analysis_tools/analyze_logs.py work_dirs/A work_dirs/B --keys loss seg/mIoU
"""

import argparse
import math
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmjoint.utils.cli import run_cli
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_path
from mmjoint.visualization.train_log import Curve, read_train_log


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('logs', nargs='+', metavar='LOG', help='scalars.json or work directory')
    parser.add_argument('--keys', nargs='+', default=['loss'], metavar='KEY', help='scalars')
    parser.add_argument('--names', nargs='+', metavar='NAME', help='one for each log')
    parser.add_argument('--out', default='curves.png', help='picture (.png, .pdf or .svg)')
    parser.add_argument('--table', action='store_true', help='print a table, too')
    args = parser.parse_args(argv)
    if args.names is not None and len(args.names) != len(args.logs):
        parser.error(f'--names: expected {len(args.logs)} names, found {len(args.names)}')
    if Path(args.out).suffix not in ('.png', '.pdf', '.svg'):
        parser.error(f'--out: expected a name ending in .png, .pdf or .svg, found {args.out!r}')
    return args


def name_logs(logs: list[str]) -> list[str]:
    """Give each log a short name: the folder above mmengine's own ones."""
    names = []
    for log in map(Path, logs):
        folder = log if log.is_dir() else log.parent
        if folder.name == 'vis_data':
            folder = folder.parent.parent
        names.append(folder.resolve().name)
    return names if len(set(names)) == len(names) else [str(log) for log in logs]


def choose_curves(log: str, keys: list[str]) -> dict[str, Curve]:
    """Read the curves of a log that are asked for.

    Raises:
        UserError: If the log cannot be read or lacks a key.
    """
    curves = read_train_log(log)
    missing = [key for key in keys if key not in curves]
    if missing:
        raise UserError(
            f'{log}: expected the keys {", ".join(missing)}, found only '
            f'{", ".join(sorted(curves))}; choose --keys among these'
        )
    return {key: curves[key] for key in keys}


def plot(logs: dict[str, dict[str, Curve]], keys: list[str], out: str) -> None:
    """Draw one panel per key with one line per log."""
    columns = min(3, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure = Figure(figsize=(5.2 * columns, 3.6 * rows), layout='constrained')
    FigureCanvasAgg(figure)
    for place, key in enumerate(keys, start=1):
        axes = figure.add_subplot(rows, columns, place)
        for name, curves in logs.items():
            curve = curves[key]
            marker = 'o' if len(curve.steps) <= 30 else None
            axes.plot(curve.steps, curve.values, label=name, marker=marker, markersize=3)
        axes.set_title(key)
        axes.set_xlabel(next(iter(logs.values()))[key].unit)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, dpi=120)


def format_table(logs: dict[str, dict[str, Curve]], keys: list[str]) -> str:
    """Lay out number, first, last, lowest and highest value of each curve."""
    header = ('log', 'key', 'points', 'first', 'last', 'lowest', 'at', 'highest', 'at')
    lines = [header]
    for name, curves in logs.items():
        for key in keys:
            curve = curves[key]
            known = [
                (value, step)
                for step, value in zip(curve.steps, curve.values, strict=True)
                if not math.isnan(value)
            ]
            cells = [name, key, str(len(curve.steps))]
            if known:
                low = min(known)
                high = max(known, key=lambda pair: (pair[0], -pair[1]))
                numbers = (known[0][0], known[-1][0], *low, *high)
                cells += [f'{entry:.5g}' for entry in numbers]
            else:
                cells += ['nan'] * 6
            lines.append(tuple(cells))
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return '\n'.join(
        '  '.join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def main(argv: list[str] | None = None) -> None:
    """Analyse logs."""
    args = parse_args(argv)
    keys = list(dict.fromkeys(args.keys))
    names = args.names or name_logs(args.logs)
    logs = {name: choose_curves(log, keys) for name, log in zip(names, args.logs, strict=True)}
    plot(logs, keys, args.out)
    if args.table:
        print(format_table(logs, keys))
    print(f'curves are in {args.out}')


if __name__ == '__main__':
    run_cli(main)
