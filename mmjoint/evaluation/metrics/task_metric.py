from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from mmjoint.functional.centreline import centreline_counts, cl_dice_from_counts
from mmjoint.functional.multilabel import NO_LABEL, channel_masks
from mmjoint.functional.multilabel_metrics import (
    area_on_grid,
    complement,
    divide,
    grid_counts,
    otsu_rates,
    probability_codes,
)
from mmjoint.functional.overlap import OverlapCounts, dice_from_counts, iou_from_counts
from mmjoint.functional.ranking import auroc, average_precision_from_histograms, sum_by_code
from mmjoint.registry import METRICS
from mmjoint.utils.errors import UserError
from mmjoint.utils.index_png import read_index_png

from .base import JointMetric, format_table, mean

# Of counts summed over all images; the only ones that the background has, too.
_OVERLAP = {
    'IoU': lambda counts: iou_from_counts(counts, empty=None),
    'Dice': lambda counts: dice_from_counts(counts, empty=None),
    'precision': lambda counts: divide(counts.intersection, counts.pred),
    'recall': lambda counts: divide(counts.intersection, counts.target),
}
_OTSU = ('otsu_sensitivity', 'otsu_specificity', 'otsu_precision')
_MEASURES = (*_OVERLAP, 'ACC', 'MAE', 'AUC', 'AUPR', 'AUPR_11', *_OTSU, 'clDice')
_MEANS = {'IoU': 'mIoU', 'Dice': 'mDice'}
_IN_FIELD = 'fov_'


def _patterns(*names: str) -> tuple[str, ...]:
    """Result keys of measures: per channel and their mean, everywhere and in the field of view."""
    return tuple(
        f'{field}{key}'
        for name in names
        for field in ('', _IN_FIELD)
        for key in (_mean_key(name), f'{name}.*')
    )


def _mean_key(measure: str) -> str:
    return _MEANS.get(measure, f'mean_{measure}')


@METRICS.register_module()
class TaskMetric(JointMetric):
    """Segmentation of one task of several channels, which may overlap: masks and probabilities.

    Reads ``pred_tasks`` (probabilities) and ``gt_tasks`` (label maps); the table ``tasks`` in the
    metainfo of the data set tells the channels. A sample without labels of the task is left out.

    Results (keys after the prefix, which is the task: ``lesion/IoU.EX``). A channel is there where
    its probability is above ``threshold``.

    - From pixel counts summed over all images: ``IoU.<channel>``, ``Dice.<channel>``,
      ``precision.<channel>``, ``recall.<channel>``, ``ACC.<channel>`` (the share of the pixels
      that is right). With ``background=True`` the first four for the background, too. NaN where
      there is nothing to take the share of.
    - ``MAE.<channel>``: mean over images of the share of the pixels that is wrong.
    - ``AUC.<channel>``: area under the ROC curve of the pixels of an image, mean over the images
      that hold both the channel and other pixels.
    - ``AUPR.<channel>``: average precision over the pixels of all images, by all thresholds (to
      1/256 of the distance to 0 or 1, in powers of 2). NaN where no image has the channel.
      ``AUPR_11.<channel>``: the published area, by the thresholds 0, 0.1, ..., 1 alone, see
      :func:`~mmjoint.functional.multilabel_metrics.area_on_grid`.
    - ``otsu_sensitivity.<channel>``, ``otsu_specificity.<channel>``, ``otsu_precision.<channel>``:
      of the mask by Otsu's threshold of each image, mean over the images where it is defined.
    - ``clDice.<channel>``: overlap of the centrelines, for thin structures, mean over the images
      where either mask has one, see :mod:`mmjoint.functional.centreline`.
    - ``mIoU``, ``mDice``, ``mean_<measure>`` for the others: mean over the channels (and the
      background where it is measured), in which an undefined value is ``undefined_in_mean``.
    - ``num_samples``, ``num_unlabelled``.

    Where samples name a mask of the field of view (``fov_path`` in the metainfo), the same follows
    inside it, from these samples alone, as ``fov_IoU.<channel>`` and so on, and ``num_fov`` tells
    how many they are: the black around a photograph is easily told from vessels, and flatters
    ``AUC``, ``ACC`` and specificity. Pixels labelled 255 count nowhere.

    The published evaluation of PSSNet is, by kind of data set::

        dict(type='TaskMetric', task='vessel', background=True, measures=(
            'IoU', 'Dice', 'precision', 'recall', 'ACC', 'AUC',
            'otsu_sensitivity', 'otsu_specificity', 'otsu_precision'))
        dict(type='TaskMetric', task='lesion', measures=(
            'IoU', 'Dice', 'precision', 'recall', 'AUPR_11', 'AUC', 'MAE'))
        dict(type='TaskMetric', task='odoc', measures=('IoU', 'Dice', 'precision', 'recall'))

    and of the disc alone, against maps of 0 and 1::

        dict(type='TaskMetric', task='odoc', channels=('disc',), background=True,
             measures=('IoU', 'Dice'))

    Args:
        task: Its name in the table.
        channels: Which of its channels to measure; by default all.
        measures: Which of ``IoU``, ``Dice``, ``precision``, ``recall``, ``ACC``, ``MAE``, ``AUC``,
            ``AUPR``, ``AUPR_11``, ``otsu_sensitivity``, ``otsu_specificity``, ``otsu_precision``,
            ``clDice`` to compute.
        background: Whether the pixels outside the channel are measured like a channel; of a single
            channel only.
        threshold: Of the probability.
        undefined_in_mean: What a NaN counts in a mean over channels: 0, as published, or ``None``
            to leave it out.
        field_of_view: Whether to measure inside the field of view as well, where there is one.
        prefix: See :class:`JointMetric`; the default is the task.
        collect_device: See :class:`JointMetric`.
        collect_dir: See :class:`JointMetric`.
        domain: See :class:`JointMetric`.

    Reference:
        Liu et al., Many birds, one stone: Medical image segmentation with multiple partially
        labeled datasets, Pattern Recognition 155 (2024) 110636. Its code names the precision of
        lesions "sp" and the three Otsu rates "se", "sp", "ppv".
    """

    counts_samples = True
    eval_keys = {
        **{mean_key: _patterns(name) for name, mean_key in _MEANS.items()},
        **{name: _patterns(name) for name in _MEASURES},
        'AUPR': _patterns('AUPR', 'AUPR_11'),
        'otsu': _patterns(*_OTSU),
    }

    def __init__(
        self,
        task: str,
        channels: Sequence[str] | None = None,
        measures: Sequence[str] = ('IoU', 'Dice', 'AUC', 'AUPR'),
        background: bool = False,
        threshold: float = 0.5,
        undefined_in_mean: float | None = 0.0,
        field_of_view: bool = True,
        prefix: str | None = None,
        collect_device: str = 'gpu',
        collect_dir: str | None = None,
        domain: str | None = None,
    ) -> None:
        super().__init__(
            prefix=prefix or task,
            collect_device=collect_device,
            collect_dir=collect_dir,
            domain=domain,
        )
        if unknown := set(measures) - set(_MEASURES):
            raise ValueError(f'measures must be among {_MEASURES}, got {sorted(unknown)}')
        self.task = task
        # What a sample must have, and how an error calls it; see `process`.
        self.label_key = f'gt_tasks.{task}'
        self.channels = None if channels is None else tuple(channels)
        self.measures = tuple(measures)
        self.background = background
        self.threshold = threshold
        self.undefined_in_mean = undefined_in_mean
        self.field_of_view = field_of_view

    @property
    def eval_names(self) -> tuple[str, ...]:
        """The names that ``--eval`` accepts: those of ``measures``, mIoU, mDice, otsu."""
        return tuple(
            name
            for name, patterns in self.eval_keys.items()
            if any(f'{measure}.*' in patterns for measure in self.measures)
        )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Append one item per sample; a mere mark for those without labels of the task.

        Args:
            data_batch: Not used.
            data_samples: Predicted and annotated samples as dicts.
        """
        seen = []
        for sample in data_samples:
            labels = sample['gt_tasks'].get(self.task) if 'gt_tasks' in sample else None
            seen.append(sample if labels is None else {**sample, self.label_key: labels})
        super().process(data_batch, seen)

    def process_sample(self, sample: dict) -> dict:
        """Reduce a sample to its counts, per channel, everywhere and in the field of view."""
        gt = self.take(sample, self.label_key)[0]
        masks = self._masks(gt, sample)
        probs = self._probs(gt, sample)
        known = gt != NO_LABEL
        item = {'': self._part(probs, masks, known)}
        if self.field_of_view and sample.get('fov_path') is not None:
            within = known & self._field_of_view(sample['fov_path'], gt.shape)
            item[_IN_FIELD] = self._part(probs, masks, within)
        return item

    def compute(self, items: list[dict]) -> Mapping[str, float]:
        """Compute from the items everywhere, then from those with a field of view inside it."""
        values: dict[str, float] = {}
        for field in ('', _IN_FIELD):
            parts = [item[field] for item in items if field in item]
            if parts:
                found = self._values(parts)
                values.update({f'{field}{key}': value for key, value in found.items()})
                if field:
                    values['num_fov'] = len(parts)
        self._print(values)
        return values

    def _needs(self, *measures: str) -> bool:
        return any(name in self.measures and self.wants(f'{name}.any') for name in measures)

    def _table(self) -> tuple[dict[str, tuple[int, ...]], list[int]]:
        """All channels of the task, and the numbers of the measured ones."""
        tasks = (self.dataset_meta or {}).get('tasks') or {}
        if self.task not in tasks:
            raise UserError(
                f'TaskMetric: expected the task {self.task!r} in the table tasks of the metainfo '
                f'of the data set, found {", ".join(tasks) or "no task"}; name one of them or add '
                'it there'
            )
        table = {name: tuple(values) for name, values in tasks[self.task].items()}
        names = list(table)
        measured = names if self.channels is None else self.channels
        if not measured or not set(measured) <= set(names):
            raise UserError(
                f'TaskMetric: expected channels out of {", ".join(names)} of the task '
                f'{self.task}, found {", ".join(measured) or "none"}; mend channels'
            )
        if self.background and len(measured) != 1:
            raise UserError(
                f'TaskMetric: expected one channel for background=True, found '
                f'{", ".join(measured)}; set channels to one of them or background=False'
            )
        return table, [names.index(name) for name in measured]

    def _names(self) -> list[str]:
        table, chosen = self._table()
        return [list(table)[index] for index in chosen]

    def _masks(self, gt: np.ndarray, sample: dict) -> np.ndarray:
        """Reference masks of the measured channels, bool ``(C, *space)``."""
        table, chosen = self._table()
        try:
            masks = channel_masks(torch.from_numpy(np.ascontiguousarray(gt))[None], table)
        except ValueError as error:
            raise UserError(
                f'TaskMetric: {sample.get("img_path", "a sample")}: {error}; mend the label map of '
                f'the task {self.task} or its channels in the data set'
            ) from error
        return masks[0, chosen].numpy()

    def _probs(self, gt: np.ndarray, sample: dict) -> np.ndarray:
        """Probabilities of the measured channels, float32 ``(C, *space)``."""
        table, chosen = self._table()
        probs = self.take(sample, 'pred_tasks', self.task).astype(np.float32, copy=False)
        if len(probs) != len(table):
            raise UserError(
                f'TaskMetric: expected {len(table)} channels of the task {self.task} '
                f'({", ".join(table)}), found {len(probs)} from the model; mend the table tasks '
                'of the model or of the data set'
            )
        self.check_shape(probs.shape[1:], gt.shape, sample)
        probs = probs[chosen]
        if not (probs.min() >= 0 and probs.max() <= 1):
            raise ValueError(
                f'pred_tasks.{self.task} must hold probabilities in [0, 1], got '
                f'{probs.min()}..{probs.max()} for {sample.get("img_path", "a sample")}'
            )
        return probs

    def _field_of_view(self, path: str, shape: tuple[int, ...]) -> np.ndarray:
        try:
            field = read_index_png(path) > 0
        except OSError as error:
            raise UserError(
                f'{path}: expected a mask of the field of view, found no readable image '
                f'({error}); prepare the set again or set field_of_view=False'
            ) from error
        except ValueError as error:
            raise UserError(f'{error}; prepare the set again') from error
        if field.shape != tuple(shape):
            raise UserError(
                f'{path}: expected a field of view of the size of the label map, {tuple(shape)}, '
                f'found {field.shape}; prepare the set again'
            )
        return field

    def _part(self, probs: np.ndarray, masks: np.ndarray, known: np.ndarray) -> dict[str, Any]:
        """What is kept of the known pixels; the first axis is that of the channels."""
        flat, truth = probs[:, known], masks[:, known]
        called = flat > self.threshold
        hits = (called & truth).sum(1)
        part: dict[str, Any] = {
            'counts': np.stack([hits, called.sum(1), truth.sum(1)], 1),
            'total': flat.shape[1],
        }
        pairs = list(zip(flat, truth, strict=True))
        if self._needs('AUC'):
            part['AUC'] = np.array([auroc(*pair) for pair in pairs])
        if self._needs('AUPR_11'):
            part['grid'] = np.stack([grid_counts(*pair) for pair in pairs])
        if self._needs('AUPR'):
            part['histograms'] = [_histogram(*pair) for pair in pairs]
        if self._needs(*_OTSU):
            part['otsu'] = np.array([otsu_rates(*pair) for pair in pairs])
        if self._needs('clDice'):
            part['clDice'] = np.array(
                [
                    cl_dice_from_counts(centreline_counts(mask > self.threshold, gt, known))
                    for mask, gt in zip(probs, masks, strict=True)
                ]
            )
        return part

    def _values(self, parts: list[dict]) -> dict[str, float]:
        names = self._names()
        counts = np.array([part['counts'] for part in parts])
        total = np.array([part['total'] for part in parts])
        pooled = OverlapCounts(*counts.sum(0).T)
        regions = list(names)
        if self.background:
            outside = complement(pooled, total.sum())
            pooled = OverlapCounts(
                *(np.append(*each) for each in zip(outside, pooled, strict=True))
            )
            regions = ['background', *names]
        each = {name: function(pooled) for name, function in _OVERLAP.items()}
        wrong = counts[..., 1] + counts[..., 2] - 2 * counts[..., 0]
        each['ACC'] = 1 - divide(wrong.sum(0), np.full(len(names), total.sum()))
        each['MAE'] = _over_images(divide(wrong, np.broadcast_to(total[:, None], wrong.shape)))
        for name in ('AUC', 'clDice'):
            if self._needs(name):
                each[name] = _over_images(np.array([part[name] for part in parts]))
        if self._needs(*_OTSU):
            rates = _over_images(np.array([part['otsu'] for part in parts]))
            each.update(zip(_OTSU, rates.T, strict=True))
        if self._needs('AUPR_11'):
            grid = np.sum([part['grid'] for part in parts], axis=0)
            each['AUPR_11'] = [
                area_on_grid(*curve, int(number))
                for curve, number in zip(grid, counts.sum(0)[:, 2], strict=True)
            ]
        if self._needs('AUPR'):
            each['AUPR'] = [
                _average_precision([part['histograms'][index] for part in parts])
                for index in range(len(names))
            ]
        values: dict[str, float] = {}
        for name in self.measures:
            if name in each:
                found = np.asarray(each[name], float)
                keys = regions if name in _OVERLAP else names
                values.update({f'{name}.{k}': v for k, v in zip(keys, found, strict=True)})
                if self.undefined_in_mean is not None:
                    found = np.where(np.isnan(found), self.undefined_in_mean, found)
                values[_mean_key(name)] = mean(found)
        return values

    def _print(self, values: dict[str, float]) -> None:
        """Print a row for each channel and a column for each measure; the field of view apart."""
        shown = {key: value for key, value in values.items() if self.wants(key)}
        names = [*(['background'] if self.background else []), *self._names()]
        for field, title in (('', 'whole images'), (_IN_FIELD, 'inside the field of view')):
            columns = [name for name in self.measures if f'{field}{_mean_key(name)}' in shown]
            if columns:
                rows = [
                    [name, *(shown.get(f'{field}{c}.{name}', np.nan) for c in columns)]
                    for name in names
                ]
                rows.append(['mean', *(shown[f'{field}{_mean_key(c)}'] for c in columns)])
                table = format_table(['channel', *columns], rows)
                print_log(f'{self.prefix}, {title}{table}', logger='current')


def _over_images(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN; NaN where there is nothing."""
    values = np.asarray(values, float)
    rest = values.shape[1:]
    columns = values.reshape(len(values), -1).T
    return np.array([mean(column) for column in columns]).reshape(rest)


def _histogram(probs: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, ...]:
    """Codes, numbers of all pixels, and of the true ones."""
    codes, count, true = sum_by_code(probability_codes(probs), truth)
    return codes, count.astype(np.int32), true.astype(np.int32)


def _average_precision(histograms: list[tuple[np.ndarray, ...]]) -> float:
    parts = [np.concatenate(each) for each in zip(*histograms, strict=True)]
    _, _, count, true = sum_by_code(*parts)
    return average_precision_from_histograms(true, count - true)
