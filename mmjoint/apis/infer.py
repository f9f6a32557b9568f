"""Predict from the command line: the program behind ``tools/infer.py``."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from mmengine.config import Config
from mmengine.utils import ProgressBar

from mmjoint import __version__
from mmjoint.utils.cli import one_line
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_write_json

from .config import OptionsAction, load_config
from .explain import add_explain_arguments, explanations_from_args
from .infer_outputs import ImpossibleOptionError, OutputOptions, PredictionWriter
from .infer_tasks import TaskPredictionWriter, check_task_options
from .infer_volumes import VolumePredictionWriter, check_options
from .inferencer import (
    SUFFIXES,
    Frame,
    JointInferencer,
    Kind,
    Source,
    check_kind,
    find_inputs,
    frames_of,
    input_kind,
    name_of,
    reads_frames,
)
from .temperatures import doubts, with_temperatures
from .uncertainty import add_uq_arguments, choose_uq, same_estimator, settings_of, uq_from_args

TABLE, RECORD = 'predictions.csv', 'infer.json'


class Item(NamedTuple):
    """An image or a volume to predict.

    Attributes:
        path: Its file.
        name: Its place below the output folder, without suffix, with ``/``.
        frame: Its number along the fourth axis of a file of several volumes.
    """

    path: Path
    name: str
    frame: int | None = None

    @property
    def shown(self) -> str:
        """What it is called in tables and messages."""
        return str(self.path) if self.frame is None else f'{self.path}, frame {self.frame}'

    @property
    def source(self) -> Source:
        """What is read."""
        return self.path if self.frame is None else Frame(self.path, self.frame)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``tools/infer.py``."""
    parser = argparse.ArgumentParser(
        prog='tools/infer.py',
        usage='%(prog)s INPUT [INPUT ...] OUT --config CONFIG --checkpoint CKPT [options]',
        description='Predict images or volumes: masks and uncertainty at their own size.',
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='image or volume, folder of them, or text list (.txt, one path per line)',
    )
    parser.add_argument('out', metavar='OUT', help='folder of the outputs; made if need be')
    _add_model_arguments(parser.add_argument_group('model'))
    _add_input_arguments(parser.add_argument_group('inputs'))
    _add_output_arguments(parser.add_argument_group('outputs'))
    parser.add_argument(
        '--traceback', action='store_true', help='show where in the program an error arose'
    )
    args = parser.parse_args(argv)
    _check_arguments(args, parser)
    return args


def _add_model_arguments(group: Any) -> None:
    group.add_argument('--config', required=True, help='config file of the model')
    group.add_argument(
        '--checkpoint',
        required=True,
        nargs='+',
        metavar='CKPT',
        help='its weights; several are the members of an ensemble',
    )
    add_uq_arguments(group)
    add_explain_arguments(group)
    group.add_argument(
        '--temperature',
        metavar='FILE',
        help='scale the probabilities by what tools/calibrate.py has fitted; without --uq and '
        "the config's uq the estimator is softmax",
    )
    group.add_argument(
        '--input-size',
        nargs=2,
        type=int,
        metavar=('W', 'H'),
        help="size of the network's input, in place of the config's",
    )
    group.add_argument('--device', help='cpu, cuda, cuda:1 ...; the first accelerator by default')
    group.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='override keys of the config',
    )


def _add_input_arguments(group: Any) -> None:
    group.add_argument(
        '--recursive', action='store_true', help='look into sub-folders, and keep them in OUT'
    )
    group.add_argument(
        '--ext',
        nargs='+',
        metavar='EXT',
        help='suffixes of the images or volumes in a folder; '
        f'{" ".join(SUFFIXES["images"])}, or {" ".join(SUFFIXES["volumes"])}',
    )
    group.add_argument(
        '--masks', metavar='DIR', help='true masks: maps of errors, and Dice in the table'
    )
    group.add_argument(
        '--mask-suffix',
        default='_Segmentation',
        metavar='TEXT',
        help='a mask is <image name>TEXT.*; _Segmentation',
    )


def _add_output_arguments(group: Any) -> None:
    def switch(name: str, text: str) -> None:
        group.add_argument(name, action='store_true', help=text)

    group.add_argument(
        '--out-map',
        choices=('mask', 'prob'),
        default='mask',
        help='what <name>_OUT.png holds: the mask (default) or the probability of a class',
    )
    group.add_argument(
        '--class-index', type=int, default=1, metavar='C', help='class of the probability maps; 1'
    )
    group.add_argument(
        '--mask-values',
        nargs='+',
        type=_mask_value,
        metavar='V',
        help="value of each class in mask files, a number or R,G,B; the checkpoint's, else "
        'spread over 0..255',
    )
    group.add_argument(
        '--mask-threshold',
        type=float,
        metavar='T',
        help='of two classes the second is predicted where its probability is above T',
    )
    group.add_argument(
        '--rounding',
        choices=('floor', 'nearest'),
        default='floor',
        help='of probabilities in PNG files; floor (default) as the original scripts',
    )
    group.add_argument(
        '--bits', type=int, choices=(8, 16), default=8, help='of probabilities in PNG files; 8'
    )
    switch('--save-prob', '<name>_probs.npy: probabilities of each pass, float32 (T, C, H, W)')
    switch('--save-npz', '<name>.npz: mean probabilities and all maps of uncertainty, lossless')
    switch('--save-samples', '<name>_mcTT_cC.png: probability of each pass and class')
    switch('--save-mean-std', '<name>_mean_cC.png, <name>_std_cC.png: over the passes')
    switch('--save-maps', 'coloured maps of probability and of each measure of uncertainty')
    switch('--overlay', 'panels with a legend, and the image with its coloured mask')
    switch('--no-save', f'no file for an image, only {TABLE}')
    switch('--overwrite', 'write into a folder that holds results already')


def _mask_value(text: str) -> int | tuple[int, ...]:
    parts = [int(part) for part in text.split(',')]
    if len(parts) not in (1, 3) or not all(0 <= part <= 255 for part in parts):
        raise ValueError
    return parts[0] if len(parts) == 1 else tuple(parts)


_mask_value.__name__ = 'number 0..255 or R,G,B'  # argparse names it in its error


def _check_arguments(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    saving = ('save_prob', 'save_npz', 'save_samples', 'save_mean_std', 'save_maps', 'overlay')
    given = [f'--{name.replace("_", "-")}' for name in saving if getattr(args, name)]
    given += [] if args.explain is None else ['--explain']
    if args.no_save and given:
        parser.error(f'--no-save: cannot go with {given[0]}')
    if args.mask_threshold is not None and not 0 <= args.mask_threshold <= 1:
        parser.error(f'--mask-threshold: expected a number in [0, 1], found {args.mask_threshold}')
    if args.mask_values is not None:
        if len({type(value) for value in args.mask_values}) > 1:
            parser.error('--mask-values: expected numbers or R,G,B, found both')
        if len(set(args.mask_values)) < len(args.mask_values):
            parser.error('--mask-values: expected different values, found one twice')
    if args.input_size is not None and min(args.input_size) < 1:
        parser.error('--input-size: expected numbers >= 1')
    if args.ext is not None:
        args.ext = [f'.{ext.lower().lstrip(".")}' for ext in args.ext]


def gather(
    words: Sequence[str],
    kind: Kind = 'images',
    *,
    suffixes: Sequence[str] | None = None,
    recursive: bool = False,
    frames: bool = False,
) -> list[Item]:
    """List the images or volumes that a command line names.

    Args:
        words: Files, folders and text lists. Paths in a list count from the current folder.
        kind: What the model takes.
        suffixes: Of the files in folders; by default those of ``kind``.
        recursive: Whether to look into sub-folders.
        frames: Whether a file with a fourth axis is a row of volumes ``<name>_t<k>``.

    Raises:
        UserError: If something is missing or of the other kind, or two would be written under one
            name.
    """
    items: list[Item] = []
    for word in words:
        path = Path(word)
        if path.is_dir():
            for file in find_inputs(path, kind, suffixes=suffixes, recursive=recursive):
                folder = file.parent.relative_to(path)
                items.append(Item(file, (folder / name_of(file)).as_posix()))
        elif path.suffix.lower() == '.txt':
            items += _read_list(path, kind)
        else:
            items.append(_single(path, word, kind))
    if frames:
        items = [part for item in items for part in _frames(item)]
    ending = '_OUT.png' if kind == 'images' else '_pred.nii.gz'
    seen: dict[str, Item] = {}
    for item in items:
        if item.name in seen:
            raise UserError(
                f'{item.shown}: expected a name of its own, found {seen[item.name].shown} before '
                f'it, both would be written as {item.name}{ending}; rename one or use several runs'
            )
        seen[item.name] = item
    return items


def _frames(item: Item) -> list[Item]:
    return [
        Item(item.path, f'{item.name}_t{source.number}', source.number)
        if isinstance(source, Frame)
        else item
        for source in frames_of(item.path)
    ]


def _single(path: Path, where: str, kind: Kind) -> Item:
    check_kind(path, kind, where)
    if not path.is_file():
        what = 'an image' if kind == 'images' else 'a volume'
        raise UserError(f'{where}: expected {what}, a folder or a .txt list, found nothing there')
    return Item(path, name_of(path))


def _read_list(path: Path, kind: Kind) -> list[Item]:
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f'{path}: expected a text list of images (UTF-8), found none that can be read'
        ) from error
    words = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not words:
        raise UserError(f'{path}: expected one path per line, found an empty list')
    return [_single(Path(word), f'{path}, line {number}: {word}', kind) for number, word in words]


def check_out(out: Path, words: Sequence[str], *, recursive: bool, overwrite: bool) -> None:
    """Refuse an output folder that cannot be one or would lose or mix up something.

    Raises:
        UserError: In these cases.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f'{out}: expected a folder for the outputs (OUT), found a file')
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = 'cannot be written to' if there.is_dir() else 'is a file'
        raise UserError(
            f'{out}: expected a folder for the outputs (OUT), found that {there} {what}; choose '
            'another'
        )
    for folder in (Path(word).resolve() for word in words if Path(word).is_dir()):
        if out.resolve() == folder or (recursive and folder in out.resolve().parents):
            raise UserError(
                f'{out}: expected OUT outside of the folder of the images, or outputs would count '
                'as images; choose another'
            )
    if (out / TABLE).exists() and not overwrite:
        raise UserError(
            f'{out}: holds the results of an earlier run ({TABLE}); choose another OUT or pass '
            '--overwrite'
        )


def find_masks(items: Sequence[Item], folder: str, suffix: str) -> list[Path]:
    """Find the true mask of each image: ``<name><suffix>.*`` in ``folder``.

    The sub-folders that the images stand in are looked for there too, then left out.

    Raises:
        UserError: If an image has none, or several.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f'--masks {folder}: expected a folder, found none there')
    masks = []
    for item in items:
        stem = f'{Path(item.name).name}{suffix}'
        for place in dict.fromkeys((root / Path(item.name).parent, root)):
            found = [
                path
                for path in (place.iterdir() if place.is_dir() else ())
                if path.stem == stem and path.suffix.lower() in SUFFIXES['images']
            ]
            if found:
                break
        if len(found) != 1:
            what = 'none' if not found else ' and '.join(sorted(path.name for path in found))
            raise UserError(
                f'--masks {folder}: expected one mask {stem}.* for {item.path}, found {what}; see '
                '--mask-suffix'
            )
        masks += found
    return masks


def choose_estimator(args: argparse.Namespace, cfg: Config) -> dict[str, Any] | None:
    """Give the estimator that the command line or the config asks for, with its settings.

    Args:
        args: The command line. Of several checkpoints the first one stays, the others become
            ``members``.
        cfg: The config.

    Raises:
        UserError: If there is no such estimator, or an option does not go with it.
    """
    first, *others = args.checkpoint
    if others:
        asked = choose_uq(cfg, args.uq)
        if asked is None or not same_estimator(asked['type'], 'ensemble'):
            raise UserError(
                f'--checkpoint: expected one, found {len(args.checkpoint)}; several are the '
                'members of an ensemble, add --uq ensemble'
            )
        args.members = [*others, *(args.members or ())]
    args.checkpoint = first
    uq = uq_from_args(cfg, args)
    if args.temperature is not None:
        uq = with_temperatures(uq or choose_uq(cfg, 'softmax'), args.temperature)
        for line in doubts(uq, args.temperature, first):
            print(f'warning: {line}', file=sys.stderr)
    # An estimator without this setting makes one pass, whose spread is 0.
    if args.save_mean_std and uq is not None and 'keep_std' in settings_of(uq):
        uq['keep_std'] = True
    return uq


def output_options(args: argparse.Namespace, inferencer: JointInferencer) -> OutputOptions:
    """Give the outputs that a command line asks for."""
    return OutputOptions(
        pictures=not args.no_save,
        out_map=args.out_map,
        class_index=args.class_index,
        mask_values=args.mask_values or inferencer.checkpoint_meta.get('mask_values'),
        mask_threshold=args.mask_threshold,
        rounding=args.rounding,
        bits=args.bits,
        passes=args.save_prob,
        arrays=args.save_npz,
        samples=args.save_samples,
        mean_std=args.save_mean_std,
        maps=args.save_maps,
        overlay=args.overlay,
        explain=bool(inferencer.explain),
    )


def run(args: argparse.Namespace) -> None:
    """Predict what a command line names and write the results.

    Raises:
        UserError: If there is a mistake in it; after the run, if images could not be predicted.
    """
    out = Path(args.out)
    cfg = load_config(args.config, args.cfg_options)
    kind = input_kind(cfg)
    if kind == 'volumes':
        check_options(args)
    items = gather(
        args.inputs,
        kind,
        suffixes=args.ext,
        recursive=args.recursive,
        frames=reads_frames(cfg),
    )
    check_out(out, args.inputs, recursive=args.recursive, overwrite=args.overwrite)
    truths = find_masks(items, args.masks, args.mask_suffix) if args.masks else None
    uq = choose_estimator(args, cfg)
    inferencer = JointInferencer(
        cfg,
        args.checkpoint,
        uq,
        explain=explanations_from_args(cfg, args),
        device=args.device,
        input_size=args.input_size,
    )
    options = output_options(args, inferencer)
    write_with = PredictionWriter if kind == 'images' else VolumePredictionWriter
    if inferencer.tasks:
        check_task_options(args)
        write_with = TaskPredictionWriter
    writer = write_with(out, [item.name for item in items], options, inferencer.dataset_meta)
    failed: dict[str, str] = {}
    progress = ProgressBar(len(items))

    def fail(index: int, error: Exception) -> None:
        if isinstance(error, ImpossibleOptionError):
            raise error
        writer.abandon(index)
        failed[items[index].shown] = one_line(error)
        progress.update()

    try:
        with writer:
            for index, image, sample in inferencer.iterate(
                [item.source for item in items],
                observer=writer.observe if writer.wants_passes else None,
                on_error=fail,
            ):
                truth = None if truths is None else truths[index]
                try:
                    writer.write(index, items[index].shown, image, sample, truth)
                except UserError as error:
                    fail(index, error)
                else:
                    progress.update()
    finally:
        print()  # what follows, errors too, gets a line of its own
    _finish(args, writer, inferencer, failed)


def _finish(
    args: argparse.Namespace,
    writer: PredictionWriter,
    inferencer: JointInferencer,
    failed: dict[str, str],
) -> None:
    """Write the table and the record of the run, and tell what failed."""
    if writer.rows:
        writer.write_table(writer.out / TABLE)
    atomic_write_json(
        writer.out / RECORD,
        {
            'mmjoint': __version__,
            'date': time.strftime('%Y-%m-%d %H:%M:%S'),
            'arguments': {key: value for key, value in vars(args).items() if key != 'traceback'},
            'uq': None if inferencer.uq is None else settings_of(inferencer.uq),
            'explain': list(inferencer.explain),
            'mask_values': writer.values,
            'classes': list(inferencer.dataset_meta['classes']),
            'predicted': len(writer.rows),
            'failed': failed,
        },
    )
    if failed:
        for path, reason in failed.items():
            # Most reasons name the file.
            told = reason if path in reason else f'{path}: {reason}'
            print(f'failed: {told}', file=sys.stderr)
        raise UserError(
            f'{len(failed)} of {len(failed) + len(writer.rows)} {inferencer.kind} could not be '
            f'predicted; they are listed above and in {writer.out / RECORD}'
        )
    what = 'rows of' if args.no_save else f'{inferencer.kind} and'
    print(f'{len(writer.rows)} {what} {TABLE} are in {writer.out}')


def main(argv: list[str] | None = None) -> None:
    """Predict from the command line."""
    args = parse_args(argv)
    # OpenCV mutters about damaged files, which we tell in a line of our own.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    run(args)
