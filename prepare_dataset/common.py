"""Shared by the scripts of this folder: output folders, annotation files, progress, splits."""

import argparse
import hashlib
import json
import math
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_json, atomic_write_text, sha256_file

T = TypeVar('T')
SPLITS = ('train', 'val', 'test')
INFO_FILE = 'dataset_info.json'
PHANTOM_FILE = 'phantom_info.json'


def note(text: str) -> None:
    """Tell the user something that is no error."""
    print(f'note: {text}', file=sys.stderr)


def progress(items: Sequence[T], what: str, interval: float = 10.0) -> Iterator[T]:
    """Iterate over ``items`` and say on stderr how far it is and how long it still takes.

    A terminal gets one line that is rewritten; a log file gets a line every ``interval`` seconds,
    so a short job writes nothing there.

    Args:
        items: What to go through.
        what: Name of the job in the line.
        interval: Seconds between two lines in a log file.

    Yields:
        The items, in order.
    """
    live = sys.stderr.isatty()
    start = shown = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - shown >= (0.2 if live else interval):
            shown = now
            left = (now - start) / done * (len(items) - done)
            line = f'{what}: {done}/{len(items)}, {left:.0f} s left'
            print(f'\r{line:<70}' if live else line, end='' if live else '\n', file=sys.stderr)
            sys.stderr.flush()
        yield item
    if live and shown > start:
        print(f'\r{what}: {len(items)}/{len(items)}'.ljust(70), file=sys.stderr)


class Problems:
    """Collects mistakes in the raw data, so that one run names them all in one line.

    Args:
        shown: How many are written out; the rest is counted.
    """

    def __init__(self, shown: int = 2) -> None:
        self.shown = shown
        self.messages: list[str] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Note a ``UserError`` of the block and go on."""
        try:
            yield
        except UserError as error:
            self.messages.append(str(error))

    def raise_if_any(self) -> None:
        """Raise what was collected.

        Raises:
            UserError: At least one problem was noted.
        """
        if not self.messages:
            return
        text = ' | '.join(self.messages[: self.shown])
        left = len(self.messages) - self.shown
        raise UserError(f'{text} | and {left} more like these' if left > 0 else text)


def check_raw_root(raw_root: Path, out_root: Path) -> None:
    """Refuse a raw folder that cannot be read, or that the output would mix with.

    Args:
        raw_root: Folder of the downloaded files.
        out_root: Folder that is going to be made.

    Raises:
        UserError: ``raw_root`` is absent, no folder, empty, or one folder lies in the other.
    """
    if not raw_root.exists():
        raise UserError(
            f'{raw_root}: expected the folder of the downloaded files, found nothing there; '
            'check the path of RAW_ROOT'
        )
    if not raw_root.is_dir():
        raise UserError(
            f'{raw_root}: expected a folder, found a file; unpack it and give the folder'
        )
    if not any(raw_root.iterdir()):
        raise UserError(
            f'{raw_root}: expected the downloaded files, found an empty folder; '
            'unpack the archives of the data set there'
        )
    raw, out = raw_root.resolve(), out_root.resolve()
    if raw.is_relative_to(out) or out.is_relative_to(raw):
        raise UserError(
            f'{out_root}: expected a folder apart from RAW_ROOT, found one inside the other '
            f'({raw_root}); choose another OUT_ROOT'
        )


@contextmanager
def new_folder(path: Path, *, overwrite: bool, marker: str = INFO_FILE) -> Iterator[Path]:
    """Give ``<path>.partial`` to write to and rename it to ``path`` when all went well.

    An error removes the partial folder and leaves ``path`` as it was. What a killed run left
    behind is cleared by the next one.

    Args:
        path: The final folder.
        overwrite: Replace an earlier result.
        marker: File that every result holds; a folder without it is never replaced.

    Yields:
        The folder to write to.

    Raises:
        UserError: ``path`` is a file, or holds something that may not be replaced.
    """
    final = path.resolve()
    partial = final.with_name(final.name + '.partial')
    old = final.with_name(final.name + '.old')
    if old.is_dir() and not final.exists():  # killed between the two renames at the end
        old.rename(final)
    if final.exists() and not final.is_dir():
        raise UserError(
            f'{path}: expected a folder or nothing, found a file; choose another output folder'
        )
    if final.is_dir() and any(final.iterdir()):
        if not (final / marker).is_file():
            raise UserError(
                f'{path}: expected nothing or an earlier result, found a folder without {marker}; '
                'it is not replaced, choose another output folder'
            )
        if not overwrite:
            raise UserError(
                f'{path}: expected no earlier result, found one ({marker}); '
                'add --overwrite to replace it or choose another output folder'
            )
    for leftover in (partial, old):
        if leftover.exists():
            shutil.rmtree(leftover)
    partial.mkdir(parents=True)
    try:
        yield partial
        if final.is_dir():
            final.rename(old)
        partial.rename(final)
    finally:
        if partial.exists():
            shutil.rmtree(partial)
    if old.exists():
        shutil.rmtree(old)


def bounded(
    kind: type[int] | type[float], low: float, high: float = math.inf
) -> Callable[[str], Any]:
    """Make an argument type that refuses numbers out of range.

    Args:
        kind: ``int`` or ``float``.
        low: Smallest value.
        high: Largest value.

    Returns:
        A parser of one word, for ``type=`` of ``add_argument``.
    """

    def parse(text: str) -> Any:
        value = kind(text)
        if not low <= value <= high or math.isinf(value):  # NaN is refused too
            wanted = f'at least {low:g}' if math.isinf(high) else f'{low:g} to {high:g}'
            raise argparse.ArgumentTypeError(f'expected {wanted}, got {text}')
        return value

    parse.__name__ = kind.__name__  # argparse names it in "invalid int value"
    return parse


image_size = bounded(int, 16, 4096)
seed_number = bounded(int, 0, 2**32 - 1)


def prepare_parser(docstring: str) -> argparse.ArgumentParser:
    """Make the parser that all prepare scripts share.

    Args:
        docstring: Module docstring of the script; its first line describes the command.

    Returns:
        A parser with ``raw_root``, ``out_root``, ``--seed`` and ``--overwrite``.
    """
    parser = argparse.ArgumentParser(description=docstring.strip().splitlines()[0])
    parser.add_argument('raw_root', type=Path, help='folder with the downloaded, unpacked files')
    parser.add_argument('out_root', type=Path, help='folder to make, e.g. data/refuge')
    parser.add_argument('--seed', type=seed_number, default=0, help='seed of random splits, if any')
    parser.add_argument('--overwrite', action='store_true', help='replace an earlier result')
    return parser


def command_line(script: str, options: Mapping[str, Any]) -> str:
    """Write down the command of a result, the same on every machine.

    The two folders stand as ``RAW_ROOT`` and ``OUT_ROOT``: equal data give equal files.

    Args:
        script: File name of the script in ``prepare_dataset/``.
        options: Options by their name without dashes. Lists become several words; ``True`` a
            bare flag; ``None`` and ``False`` are left out.

    Returns:
        The command as a shell reads it.
    """
    words = ['python', f'prepare_dataset/{script}', 'RAW_ROOT', 'OUT_ROOT']
    for name, value in options.items():
        if value is None or value is False:
            continue
        words.append('--' + name.replace('_', '-'))
        if isinstance(value, (list, tuple)):
            words += [str(part) for part in value]
        elif value is not True:
            words.append(str(value))
    return shlex.join(words)


def _content_checksum(
    root: Path, records: Sequence[Mapping[str, Any]], known: dict[str, str]
) -> str:
    """One SHA-256 over the names and contents of all images and masks of a split.

    ``known`` keeps the sums of single files: splits may share them.
    """
    digest = hashlib.sha256()
    for record in records:
        keys = ('img_path', 'seg_map_path', 'fov_path', 'od_map_path')
        names = [record[key] for key in keys if key in record]
        for name in (*names, *record.get('task_map_paths', {}).values()):
            if name not in known:
                known[name] = sha256_file(root / name)
            digest.update(f'{name} {known[name]}\n'.encode())
    return digest.hexdigest()


def write_annotations(
    root: Path,
    dataset: str,
    *,
    raw_root: Path,
    classes: Sequence[str],
    cls_classes: Sequence[str],
    records: Mapping[str, Sequence[dict[str, Any]]],
    command: str,
    options: Mapping[str, Any],
    tasks: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> None:
    """Write ``annotations/<split>.json`` and ``dataset_info.json``.

    Args:
        root: Folder of the prepared set, with all images and masks in place.
        dataset: Name of the set.
        raw_root: Folder of the raw files; whether they are phantoms is noted.
        classes: Names of the pixel classes, in the order of their ids.
        cls_classes: Names of the image classes, in the order of their ids.
        records: Per split its records, with paths relative to ``root``.
        command: The command that made the folder.
        options: The options of that command.
        tasks: Task -> channel -> its values in the task's label maps, for sets of several tasks.

    Raises:
        UserError: A split has no record.
    """
    splits, files = {}, {}
    checksums: dict[str, str] = {}
    for split, rows in records.items():
        if not rows:
            raise UserError(
                f'{dataset}: expected at least one case in every split, found none in {split!r}; '
                'give more cases or another division'
            )
        name = f'annotations/{split}.json'
        # A record per line: geometries of volumes would fill a screen each.
        lines = ',\n'.join(json.dumps(row, ensure_ascii=False) for row in rows)
        atomic_write_text(root / name, f'[\n{lines}\n]\n')
        files[name] = sha256_file(root / name)
        counts = Counter(row['gt_label'] for row in rows if 'gt_label' in row)
        splits[split] = {
            'num_samples': len(rows),
            'num_patients': len({row['patient_id'] for row in rows}),
            'cls_counts': {label: counts[index] for index, label in enumerate(cls_classes)},
            'images_and_masks_sha256': _content_checksum(root, rows, checksums),
        }
    info = {
        'dataset': dataset,
        'version': 1,
        'phantom': (raw_root / PHANTOM_FILE).is_file(),
        'classes': list(classes),
        'cls_classes': list(cls_classes),
        **({} if tasks is None else {'tasks': tasks}),
        'splits': splits,
        'files': files,
        'command': command,
        'options': dict(options),
    }
    atomic_write_json(root / INFO_FILE, info)


def print_summary(out_root: Path, records: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Say what was made, in one line."""
    parts = [
        f'{split} {len(rows)} images of {len({row["patient_id"] for row in rows})} patients'
        for split, rows in records.items()
    ]
    print(f'{out_root}: {"; ".join(parts)}')
