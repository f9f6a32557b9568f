"""What a prediction leaves on disk: masks, maps, passes, pictures and a row of a table."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmengine.structures import PixelData
from numpy.lib import format as npy
from PIL import Image
from torch import Tensor

from mmjoint.functional.aggregation import aggregate_maps
from mmjoint.functional.explanation_scale import EXPLANATIONS, explanation_upper
from mmjoint.functional.overlap import dice
from mmjoint.functional.uncertainty_scale import (
    UNCERTAINTY_PREFERENCE,
    split_measure,
    uncertainty_upper_bound,
)
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError
from mmjoint.utils.io import atomic_path, atomic_write_text
from mmjoint.visualization import JointVisualizer
from mmjoint.visualization.drawing import (
    HEAT_COLOURS,
    PROBABILITY_COLOURS,
    class_palette,
    overlay_heat,
    write_image,
)
from mmjoint.visualization.uncertainty_maps import (
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    blend_mask,
    colour_map,
    disagreement,
    mask_png,
    probability_png,
    write_png,
)


class ImpossibleOptionError(UserError):
    """An option that the model's classes do not allow: no image can be written with it."""


MaskValues = Sequence[int] | Sequence[Sequence[int]]


@dataclass(frozen=True)
class OutputOptions:
    """Which files are written for an image, and how.

    Attributes:
        pictures: False writes no file for an image, whatever the others say.
        out_map: What ``<stem>_OUT.png`` holds: the mask, or the probability of ``class_index``.
        class_index: The class whose probability is written and drawn.
        mask_values: What the classes are in mask files; None spreads them over 0..255.
        mask_threshold: Of two classes, the second is predicted where its probability is above it.
            None takes the likeliest class.
        rounding, bits: Of probabilities in PNG files; see ``probability_png``.
        passes: Write ``<stem>_probs.npy``.
        arrays: Write ``<stem>.npz``.
        samples: Write a PNG for each pass and class.
        mean_std: Write PNGs of mean and standard deviation of each class.
        maps: Write coloured maps of probability and uncertainty.
        overlay: Write overlays.
        explain: Write the maps that explain the class, which samples have then.
    """

    pictures: bool = True
    out_map: Literal['mask', 'prob'] = 'mask'
    class_index: int = 1
    mask_values: MaskValues | None = None
    mask_threshold: float | None = None
    rounding: Literal['floor', 'nearest'] = 'floor'
    bits: Literal[8, 16] = 8
    passes: bool = False
    arrays: bool = False
    samples: bool = False
    mean_std: bool = False
    maps: bool = False
    overlay: bool = False
    explain: bool = False

    def need_mask(self) -> list[str]:
        """Name the options that only a model with a mask can serve."""
        named = [*self.need_probabilities(), *(['--overlay'] if self.overlay else [])]
        # There is something else to show and to keep.
        served = ('--save-npz', '--overlay') if self.explain else ()
        return [name for name in named if name not in served]

    def need_probabilities(self) -> list[str]:
        """Name the options that only a model with probabilities of all classes can serve."""
        named = {
            '--out-map prob': self.out_map == 'prob',
            '--mask-threshold': self.mask_threshold is not None,
            '--save-prob': self.passes,
            '--save-npz': self.arrays,
            '--save-samples': self.samples,
            '--save-mean-std': self.mean_std,
            '--save-maps': self.maps,
        }
        return [name for name, wanted in named.items() if wanted]


class PassFile:
    """An ``.npy`` file that grows by one array at a time and appears when it is whole.

    Args:
        path: Final name.
        shape: Of one array; they are float32, and a new axis 0 runs over them.
    """

    def __init__(self, path: Path, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.count = 0
        self._stack = ExitStack()
        temporary = self._stack.enter_context(atomic_path(path))
        self._stream = self._stack.enter_context(temporary.open('wb'))
        self._write_header()
        self._start = self._stream.tell()

    def append(self, array: np.ndarray) -> None:
        """Write one more array."""
        if array.shape != self.shape:
            raise ValueError(f'expected an array {self.shape}, got {array.shape}')
        self._stream.write(np.ascontiguousarray(array, '<f4').tobytes())
        self.count += 1

    def close(self) -> None:
        """Finish the file and give it its name."""
        # numpy leaves room in a header for axis 0 to grow.
        self._stream.seek(0)
        self._write_header()
        if self._stream.tell() != self._start:
            raise RuntimeError('the header of an .npy file has changed its length')
        self._stack.close()

    def abandon(self) -> None:
        """Remove what was written."""
        # An error, even if none is raised, lets `atomic_path` remove its file.
        error = RuntimeError('abandoned')
        self._stack.__exit__(type(error), error, None)

    def _write_header(self) -> None:
        shape = (self.count, *self.shape)
        header = {'descr': '<f4', 'fortran_order': False, 'shape': shape}
        npy.write_array_header_1_0(self._stream, header)


class PictureWriter:
    """Encodes and writes pictures on a few threads, which is most of the work of writing.

    Pictures wait in memory, so that only a few are let in at once.
    """

    threads, most = 4, 8

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix='pictures')
        self._waiting: list[Future] = []

    def write(self, path: Path, pixels: np.ndarray) -> None:
        """Write pixels as :func:`write_png` takes them; may return before it is done.

        Raises:
            OSError: If a picture, this or an earlier one, cannot be written.
        """
        if len(self._waiting) >= self.most:
            self._waiting.pop(0).result()
        # OpenCV encodes several times faster than Pillow, but knows no pictures of one bit.
        function = write_png if pixels.dtype == bool else write_image
        self._waiting.append(self._pool.submit(function, path, pixels))

    def wait(self) -> None:
        """Return when all pictures are written."""
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            task.result()

    def close(self) -> None:
        """Finish what has begun, drop what has not."""
        self._pool.shutdown(cancel_futures=True)


class PredictionWriter:
    """Writes the files of one image after the other and collects the table.

    Args:
        out: Folder of the outputs.
        names: For each image its place below ``out``: ``case/ISIC_0000023``, without suffix.
        options: What is written.
        dataset_meta: Names and colours of the classes.
    """

    def __init__(
        self,
        out: Path,
        names: Sequence[str],
        options: OutputOptions,
        dataset_meta: Mapping[str, Any],
    ) -> None:
        self.out = out
        self.names = names
        self.options = options
        self.meta = dataset_meta
        self.rows: list[dict[str, Any]] = []
        self.values: MaskValues | None = options.mask_values
        """Value of each class in mask files; known with the first prediction."""
        self.num_classes = 0
        """Of the mask; known with the first prediction."""
        self._open: dict[int, PassFile] = {}
        self._checked = False
        self._pictures = PictureWriter()
        self._visualizer = JointVisualizer(
            name='infer', with_errors=True, probability_classes=(options.class_index,)
        )
        self._visualizer.dataset_meta = dict(dataset_meta)

    def __enter__(self) -> 'PredictionWriter':
        return self

    def __exit__(self, *error: object) -> None:
        for index in list(self._open):
            self.abandon(index)
        self._pictures.close()

    @property
    def wants_passes(self) -> bool:
        """Whether :meth:`observe` is to be called."""
        return self.options.pictures and (self.options.passes or self.options.samples)

    def observe(self, sample: JointDataSample, number: int, probs: Tensor) -> None:
        """Write one pass of an image.

        Args:
            sample: Its ``sample_idx`` is the number of the image.
            number: Of the pass, from 0.
            probs: ``(C, H, W)``.
        """
        index = sample.metainfo['sample_idx']
        self._check(len(probs))
        maps = probs.detach().cpu().float().numpy()
        if self.options.passes:
            if number == 0:
                self.abandon(index)
                self._open[index] = PassFile(self._path(index, '_probs.npy'), maps.shape)
            self._open[index].append(maps)
        if self.options.samples:
            for c, values in enumerate(maps):
                self._probability(index, f'_mc{number:02d}_c{c}', values)

    def abandon(self, index: int) -> None:
        """Forget the passes of an image that failed."""
        if index in self._open:
            self._open.pop(index).abandon()

    def write(
        self,
        index: int,
        shown: str,
        image: np.ndarray,
        sample: JointDataSample,
        truth: Path | None = None,
    ) -> None:
        """Write the files of an image and add its row.

        Args:
            index: Number of the image.
            shown: Its name in the table.
            image: uint8 ``(H, W, 3)``, RGB.
            sample: Its prediction.
            truth: File of the true mask.

        Raises:
            ImpossibleOptionError: If an option does not go with the model.
            UserError: If the true mask cannot be used.
        """
        height, width = image.shape[:2]
        row: dict[str, Any] = dict(image=shown, width=width, height=height)
        if 'pred_sem_seg' in sample:
            probs = self._probabilities(sample)
            gt = None
            if truth is not None:
                gt = read_mask(truth, self.values)
                if gt.shape != (height, width):
                    raise UserError(
                        f'{truth}: expected a mask of the size of its image {shown}, '
                        f'{width} x {height}, found {gt.shape[1]} x {gt.shape[0]}'
                    )
                sample.gt_sem_seg = PixelData(data=torch.from_numpy(gt)[None].long())
            row |= self._segmentation_row(sample, probs, gt)
            if self.options.pictures:
                self._write_files(index, image, sample, probs, gt)
        else:
            self._check(0)
            if self.options.pictures and self.options.explain:
                self._write_class_files(index, image, sample)
        if 'pred_score' in sample:
            row |= self._class_row(sample)
        self.rows.append(row)

    def write_table(self, path: Path) -> None:
        """Write the rows as a CSV file; what is not defined is an empty cell."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, lineterminator='\n')
        table.writeheader()
        for row in self.rows:
            table.writerow({key: _cell(value) for key, value in row.items()})
        atomic_write_text(path, text.getvalue())

    def _probabilities(self, sample: JointDataSample) -> np.ndarray | None:
        """Give ``(C, *space)``, if the sample has them, and let ``--mask-threshold`` decide."""
        if 'seg_logits' not in sample:
            highest = int(sample.pred_sem_seg.data.max())
            self._check(max(2, highest + 1, len(self.meta.get('classes') or ())), with_probs=False)
            return None
        probs = sample.seg_logits.data.float().softmax(0)
        self._check(len(probs))
        if self.options.mask_threshold is not None:
            above = probs[1:] > self.options.mask_threshold
            sample.pred_sem_seg = type(sample.pred_sem_seg)(data=above.long())
        return probs.numpy()

    def _check(self, num_classes: int, *, with_probs: bool = True) -> None:
        """Refuse, before the first file is written, what the model's classes do not allow."""
        if self._checked:
            return
        options = self.options
        if num_classes == 0:
            if options.need_mask():
                raise ImpossibleOptionError(
                    f'{options.need_mask()[0]}: the model predicts a class, but no mask'
                )
        else:
            if not with_probs and options.need_probabilities():
                raise ImpossibleOptionError(
                    f'{options.need_probabilities()[0]}: expected probabilities of all classes, '
                    'found a mask and its uncertainty alone; leave the option out, or set '
                    'model.test_cfg.bounded=False (--cfg-options), which needs more memory'
                )
            if not 0 <= options.class_index < num_classes:
                raise ImpossibleOptionError(
                    f'--class-index {options.class_index}: expected 0 to {num_classes - 1}, the '
                    f'model has {num_classes} classes'
                )
            if options.mask_threshold is not None and num_classes != 2:
                raise ImpossibleOptionError(
                    f'--mask-threshold: expected a model of two classes, found {num_classes}; '
                    'leave it out, the likeliest class is taken'
                )
            self.values = mask_values(options.mask_values, num_classes)
        self.num_classes = num_classes
        self._checked = True

    def _segmentation_row(
        self, sample: JointDataSample, probs: np.ndarray | None, gt: np.ndarray | None
    ) -> dict[str, Any]:
        pred = sample.pred_sem_seg.data[0].numpy()
        names = self._class_names('classes', self.num_classes)
        areas = np.bincount(pred.ravel(), minlength=self.num_classes)
        row: dict[str, Any] = {}
        for name, area in zip(names, areas.tolist(), strict=True):
            row[f'area_{name}'] = area
            row[f'share_{name}'] = area / pred.size
        row |= self._certainty_row(sample, probs)
        if gt is not None:
            for c, name in enumerate(names[1:], 1):
                row[f'dice_{name}'] = dice(pred == c, gt == c, empty=None)
            row['error_share'] = float((pred != gt).mean())
        return row

    def _certainty_row(self, sample: JointDataSample, probs: np.ndarray | None) -> dict[str, Any]:
        row = {}
        if probs is not None:
            row['mean_confidence'] = float(probs.max(0).mean(dtype=np.float64))
        pred = sample.pred_sem_seg.data[0].numpy()
        for measure, scores in aggregate_maps(measures_of_sample(sample), pred).items():
            row |= {f'{measure}_{name}': value for name, value in scores.items()}
        return row

    def _class_row(self, sample: JointDataSample) -> dict[str, Any]:
        scores = sample.pred_score.tolist()
        names = self._class_names('cls_classes', len(scores))
        row: dict[str, Any] = {'class': names[int(sample.pred_label)]}
        row |= {f'probability_{name}': p for name, p in zip(names, scores, strict=True)}
        if 'cls_uncertainty' in sample:
            for measure in ranked(sample.cls_uncertainty.keys()):
                row[f'class_{measure}'] = float(sample.cls_uncertainty.get(measure))
        return row

    def _class_names(self, key: str, count: int) -> list[str]:
        names = [str(name) for name in self.meta.get(key) or ()]
        return names if len(names) == count else [str(number) for number in range(count)]

    def _path(self, index: int, ending: str) -> Path:
        return self.out / f'{self.names[index]}{ending}'

    def _probability(self, index: int, ending: str, values: np.ndarray) -> None:
        levels = probability_png(values, rounding=self.options.rounding, bits=self.options.bits)
        self._pictures.write(self._path(index, f'{ending}.png'), levels)

    def _write_files(
        self,
        index: int,
        image: np.ndarray,
        sample: JointDataSample,
        probs: np.ndarray | None,
        gt: np.ndarray | None,
    ) -> None:
        options = self.options
        pred = sample.pred_sem_seg.data[0].numpy()
        if options.out_map == 'prob':
            self._probability(index, '_OUT', probs[options.class_index])
        else:
            self._pictures.write(self._path(index, '_OUT.png'), mask_png(pred, self.values)[0])
        if options.mean_std:
            std = sample.seg_std.data.numpy() if 'seg_std' in sample else np.zeros_like(probs)
            for c in range(len(probs)):
                self._probability(index, f'_mean_c{c}', probs[c])
                self._probability(index, f'_std_c{c}', std[c])
        if options.arrays:
            self._write_arrays(index, sample, probs, pred)
        if options.maps:
            self._write_maps(index, sample, probs)
        if options.overlay:
            self._write_overlays(index, image, sample, pred, gt)
        if options.explain:
            self._write_explanations(index, image, sample)
        if gt is not None:
            self._pictures.write(self._path(index, '_mask_disagree.png'), disagreement(gt, pred))
        self._pictures.wait()
        if index in self._open:
            self._open.pop(index).close()

    def _write_class_files(self, index: int, image: np.ndarray, sample: JointDataSample) -> None:
        """Write what there is without a mask."""
        self._write_explanations(index, image, sample)
        if self.options.arrays:
            self._save_arrays(index, _explanations(sample))
        if self.options.overlay:
            self._write_panels(index, image, sample, draw_gt=False)
        self._pictures.wait()

    def _write_explanations(self, index: int, image: np.ndarray, sample: JointDataSample) -> None:
        for name, values in _explanations(sample).items():
            drawn = overlay_heat(image, values, explanation_upper(values))
            self._pictures.write(self._path(index, f'_{name}.png'), drawn)

    def _write_arrays(
        self, index: int, sample: JointDataSample, probs: np.ndarray, pred: np.ndarray
    ) -> None:
        arrays = {'mean_probs': probs, 'pred': pred.astype(np.uint8), **measures_of_sample(sample)}
        if 'predictive_entropy' in arrays:
            arrays['predictive_entropy_bits'] = arrays['predictive_entropy'] / np.float32(
                math.log(2)
            )
        if 'seg_std' in sample:
            arrays['std'] = sample.seg_std.data.numpy()
        self._save_arrays(index, arrays | _explanations(sample))

    def _save_arrays(self, index: int, arrays: Mapping[str, np.ndarray]) -> None:
        with atomic_path(self._path(index, '.npz')) as temporary:
            np.savez(temporary, **arrays)

    def _write_maps(self, index: int, sample: JointDataSample, probs: np.ndarray) -> None:
        drawn = colour_map(probs[self.options.class_index], PROBABILITY_COLOURS)
        self._pictures.write(self._path(index, '_avg_probability_map.png'), drawn)
        for measure, values in measures_of_sample(sample).items():
            # Nats on 0..ln C are bits on 0..log2 C: for two classes bits on [0, 1].
            upper = uncertainty_upper_bound(measure, len(probs))
            drawn = colour_map(values, HEAT_COLOURS, upper=upper)
            self._pictures.write(self._path(index, f'_{measure}.png'), drawn)

    def _write_overlays(
        self,
        index: int,
        image: np.ndarray,
        sample: JointDataSample,
        pred: np.ndarray,
        gt: np.ndarray | None,
    ) -> None:
        num_classes = self.num_classes
        self._write_panels(index, image, sample, draw_gt=gt is not None)
        for name, labels, colour in (
            ('_mask_pred.png', pred, PREDICTION_COLOUR),
            ('_mask_true.png', gt, TRUTH_COLOUR),
        ):
            if labels is None:
                continue
            colours = [None, colour]
            if num_classes > 2:
                colours = class_palette(num_classes, self.meta.get('palette'))
            blended = image
            for c in range(1, num_classes):
                blended = blend_mask(blended, labels == c, colours[c])
            self._pictures.write(self._path(index, name), blended)

    def _write_panels(
        self, index: int, image: np.ndarray, sample: JointDataSample, *, draw_gt: bool
    ) -> None:
        caption = Path(self.names[index]).name
        panels = self._visualizer.draw(image, sample, draw_gt=draw_gt, caption=caption)
        self._pictures.write(self._path(index, '_overlay.png'), panels)


def mask_values(values: MaskValues | None, num_classes: int) -> MaskValues:
    """Give the values that the classes have in mask files.

    Args:
        values: As given by the user or the checkpoint. None spreads the classes over 0..255, so
            that a mask can be looked at: 0, 255 for two classes, 0, 128, 255 for three.
        num_classes: Number of classes.

    Raises:
        ImpossibleOptionError: If there is not one value for each class.
    """
    if values is None:
        return [int(255 * c / (num_classes - 1) + 0.5) for c in range(num_classes)]
    if len(values) != num_classes:
        raise ImpossibleOptionError(
            f'--mask-values: expected {num_classes} values, one for each class of the model, found '
            f'{len(values)}: {" ".join(map(str, values))}'
        )
    return values


def read_mask(path: Path, values: MaskValues) -> np.ndarray:
    """Read a mask file whose classes have certain values.

    Args:
        path: 1 bit, 8 bit (grey or palette, whose numbers count) or RGB.
        values: Number or RGB triple of each class.

    Returns:
        Class ids, uint8 ``(H, W)``.

    Raises:
        UserError: If it cannot be read or holds another value.
    """
    try:
        with Image.open(path) as file:
            mode, pixels = file.mode, np.asarray(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f'{path}: expected a readable mask, found one that is damaged or no image; replace the '
            'file'
        ) from error
    table = np.asarray(values)
    wanted = ('1', 'L', 'P') if table.ndim == 1 else ('RGB',)
    if mode not in wanted:
        raise UserError(
            f'{path}: expected a mask of mode {" or ".join(wanted)} with the values '
            f'{" ".join(map(str, values))}, found mode {mode}; see --mask-values'
        )
    pixels = pixels.astype(np.int64)
    if table.ndim == 2:  # one number for each colour
        weights = np.array([65536, 256, 1])
        pixels, table = pixels @ weights, table @ weights
    labels = np.full(pixels.shape, 255, np.uint8)
    for c, value in enumerate(table):
        labels[pixels == value] = c
    unknown = np.unique(pixels[labels == 255])
    if len(unknown):
        told = ', '.join(map(str, unknown[:5].tolist())) + (', ...' if len(unknown) > 5 else '')
        raise UserError(
            f'{path}: expected the values {" ".join(map(str, values))}, found {told}; give the '
            'values of the classes by --mask-values'
        )
    return labels


def measures_of_sample(sample: JointDataSample) -> dict[str, np.ndarray]:
    """Give the maps of uncertainty, ``(H, W)`` each, in an order that is always the same."""
    if 'seg_uncertainty' not in sample:
        return {}
    maps = sample.seg_uncertainty
    return {name: maps.get(name)[0].numpy() for name in ranked(maps.keys())}


def _explanations(sample: JointDataSample) -> dict[str, np.ndarray]:
    """Give the maps that explain the class, ``(H, W)`` each."""
    if 'explanations' not in sample:
        return {}
    maps = sample.explanations
    return {name: maps.get(name)[0].numpy() for name in EXPLANATIONS if name in maps}


def ranked(measures: Iterable[str]) -> list[str]:
    """Bring names of measures into the order of ``UNCERTAINTY_PREFERENCE``, others behind."""
    known = UNCERTAINTY_PREFERENCE
    place = {name: number for number, name in enumerate(known)}
    return sorted(measures, key=lambda name: (place.get(split_measure(name)[0], len(known)), name))


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return f'{value:.8g}' if math.isfinite(value) else ''
