from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from mmengine.logging import print_log

from mmjoint.functional.overlap import (
    OverlapCounts,
    dice_from_counts,
    iou_from_counts,
    overlap_counts,
    precision_from_counts,
    recall_from_counts,
)
from mmjoint.functional.similarity import SSIM_WINDOW, mask_ssim
from mmjoint.functional.surface import (
    SURFACE_MEASURES,
    ahd_from_distances,
    nsd_from_distances,
)
from mmjoint.registry import METRICS
from mmjoint.utils.errors import UserError

from .base import JointMetric, format_table, group_items, mean, median
from .label_maps import pack_map, region_distances, stack_slices, unpack_map

_OVERLAP = {'Dice': dice_from_counts, 'IoU': iou_from_counts}
# Of the counts too, but per image and case only.
_SHARES = {'precision': precision_from_counts, 'recall': recall_from_counts}
_SURFACE = (*SURFACE_MEASURES, 'NSD')
_SETS = {'AHD': ahd_from_distances}
_MEASURES = (*_OVERLAP, *_SHARES, *_SURFACE, *_SETS, 'SSIM')
# Names of --eval for measures that have two.
_ALIASES = {'Jaccard': 'IoU'}
_COUNTS = ('num_missed', 'num_spurious', 'num_absent')


def _patterns(*names: str) -> tuple[str, ...]:
    """Result keys of measures: per region and their mean, per image and per case."""
    return tuple(
        f'{case}{key}'
        for name in names
        for case in ('', 'case_')
        for key in (f'mean_{name}', f'{name}.*')
    )


@METRICS.register_module()
class SegmentationMetric(JointMetric):
    """Overlap and surface distances of masks, per image, per case and over the data set.

    A region is a class or a named union of classes. Results (keys after the prefix ``seg/``):

    - ``Dice.<region>``, ``IoU.<region>`` (the Jaccard index), ``ASD.<region>`` and so on: mean
      over images (``average='case'`` elsewhere). An image may be a volume.
    - ``mean_Dice`` and so on: mean over the classes (not the unions) of these means.
      ``median_Dice.<region>``, ``median_IoU.<region>``: median over images.
    - ``ASSD_found.<region>`` and so on: mean over the images where both masks hold the region.
    - ``num_missed.<region>``, ``num_spurious.<region>``, ``num_absent.<region>``: images where
      only the reference, only the prediction, neither holds the region.
    - ``dataset_IoU.<region>``, ``dataset_Dice.<region>``: from pixel counts summed over the data
      set, background included; NaN for a region that occurs nowhere. ``mIoU``, ``mDice``: their
      means over the classes (not the unions) that occur.
    - ``num_samples``, ``num_unlabelled``.
    - With ``group_by``: ``case_Dice.<region>``, ``case_mean_Dice`` and so on, ``num_cases``. The
      slices of a case are stacked by their number into one volume (slices that are not in the
      data set count as empty), and each case counts once. Surfaces then are those of the volume.

    Surface measures: ``ASD`` is one-sided, from prediction to reference. ``ASSD``: mean of the
    means of both directions; ``ASSD_pooled``: mean of all distances of both. ``HD95``: 95th
    percentile of all distances of both directions; ``HD95_max``: the larger of the directed ones.
    ``HD``: the largest distance. ``NSD``: normalised surface Dice at ``nsd_tolerance``, the share
    of both borders within this distance of the other one; 0 where just one mask is empty.

    ``AHD`` is the average Hausdorff distance: the larger of the two means of the distances from
    each pixel of one mask to the nearest of the other. ``precision`` is the share of the predicted
    pixels that is right, ``recall`` the share of the reference that is found. ``SSIM`` is the
    structural similarity of the masks, see :func:`mmjoint.functional.similarity.mask_ssim`; of
    images, not of cases.

    Ignored pixels belong to no region. Where only some classes of an image are annotated
    (``annotated_classes``), the image counts for regions of these classes only.

    Args:
        unions: Name -> class ids of further regions, for example ``dict(disc=(1, 2))``.
        measures: Which of ``Dice``, ``IoU``, ``precision``, ``recall``, ``ASD``, ``ASSD``,
            ``ASSD_pooled``, ``HD95``, ``HD95_max``, ``HD``, ``NSD``, ``AHD``, ``SSIM`` to compute.
        include_background: Whether class 0 is a region of the values per image and per case.
        empty_dice: Dice, IoU, precision, recall and NSD of an image or case where both masks lack
            the region; ``None`` leaves it out of the mean. 0.01 is the 1 on a scale of 100 that
            some published evaluations give.
        empty_distance: Distance where either mask lacks the region; ``None`` leaves it out of the
            mean (then read the counts as well).
        both_empty_distance: Distance where both lack it; ``None`` means as ``empty_distance``.
        distance_unit: ``pixel``: of the evaluated masks, slices one unit apart; ``mm``: by
            ``spacing`` in the metainfo.
        nsd_tolerance: Distance in ``distance_unit`` that ``NSD`` takes as agreement; it has no
            default, since it depends on organ and resolution.
        group_by: Metainfo key of the case (``patient_id``); ``None`` for no cases.
        slice_key: Metainfo key of the slice number inside the case.
        slice_spacing: Distance of neighbouring slices in mm, where ``spacing`` does not hold it.
        ignore_index: Value of pixels without a class.
        prefix: See :class:`JointMetric`.
        collect_device: See :class:`JointMetric`.
        collect_dir: See :class:`JointMetric`.
        domain: See :class:`JointMetric`.
    """

    default_prefix = 'seg'
    label_key = 'gt_sem_seg'
    counts_samples = True
    eval_keys = {
        **{
            f'm{name}': (f'm{name}', f'dataset_{name}.*', *_patterns(name))
            for name in ('IoU', 'Dice')
        },
        **{name: _patterns(name, f'median_{name}') for name in _OVERLAP},
        **{alias: _patterns(name, f'median_{name}') for alias, name in _ALIASES.items()},
        **{name: _patterns(name) for name in _SHARES},
        **{name: _patterns(name, f'{name}_found') for name in (*_SURFACE, *_SETS)},
        'SSIM': _patterns('SSIM'),
        'misses': tuple(f'{case}{name}.*' for case in ('', 'case_') for name in _COUNTS),
    }

    def __init__(
        self,
        unions: Mapping[str, Sequence[int]] | None = None,
        measures: Sequence[str] = ('Dice', 'IoU', 'ASD', 'ASSD', 'HD95'),
        include_background: bool = False,
        empty_dice: float | None = 0.0,
        empty_distance: float | None = 10.0,
        both_empty_distance: float | None = None,
        distance_unit: Literal['pixel', 'mm'] = 'pixel',
        nsd_tolerance: float | None = None,
        group_by: str | None = None,
        slice_key: str = 'slice',
        slice_spacing: float | None = None,
        ignore_index: int = 255,
        prefix: str | None = None,
        collect_device: str = 'gpu',
        collect_dir: str | None = None,
        domain: str | None = None,
    ) -> None:
        super().__init__(
            prefix=prefix,
            collect_device=collect_device,
            collect_dir=collect_dir,
            domain=domain,
        )
        if unknown := set(measures) - set(_MEASURES):
            raise ValueError(f'measures must be among {_MEASURES}, got {sorted(unknown)}')
        if distance_unit not in ('pixel', 'mm'):
            raise ValueError(f"distance_unit must be 'pixel' or 'mm', got {distance_unit!r}")
        if ('NSD' in measures) != (nsd_tolerance is not None):
            raise ValueError(
                f'NSD among the measures and nsd_tolerance belong together, got measures '
                f'{tuple(measures)} and nsd_tolerance={nsd_tolerance}'
            )
        self.unions = {name: tuple(ids) for name, ids in (unions or {}).items()}
        self.measures = tuple(measures)
        self.include_background = include_background
        self.empty_dice = empty_dice
        self.empty_distance = empty_distance
        self.both_empty_distance = both_empty_distance
        self.distance_unit = distance_unit
        self.nsd_tolerance = nsd_tolerance
        self.group_by = group_by
        self.slice_key = slice_key
        self.slice_spacing = slice_spacing
        self.ignore_index = ignore_index

    @property
    def eval_names(self) -> tuple[str, ...]:
        """The names that ``--eval`` accepts: those of ``measures``, mIoU, mDice, misses."""
        measured = {*_MEASURES, *_ALIASES}
        return tuple(
            name
            for name in self.eval_keys
            if name not in measured or _ALIASES.get(name, name) in self.measures
        )

    def _measured_regions(self) -> dict[str, tuple[int, ...]]:
        return dict(list(self.regions(self.unions).items())[0 if self.include_background else 1 :])

    def _distance_measures(self, case: str = '') -> list[str]:
        """Measures of distances that are wanted: of borders, then of whole masks."""
        return [
            name
            for kind in (_SURFACE, _SETS)
            for name in self.measures
            if name in kind and self.wants(f'{case}{name}.any')
        ]

    def _distances(
        self,
        pred: np.ndarray,
        gt: np.ndarray,
        spacing: Sequence[float] | None,
        names: Sequence[str],
    ) -> np.ndarray:
        """One row for each measured region, one column for each name."""
        nsd = partial(nsd_from_distances, tolerance=self.nsd_tolerance)
        borders = [nsd if n == 'NSD' else SURFACE_MEASURES[n] for n in names if n in _SURFACE]
        sets = [_SETS[name] for name in names if name in _SETS]
        return region_distances(pred, gt, self._measured_regions().values(), borders, spacing, sets)

    def _ssim(self, pred: np.ndarray, gt: np.ndarray, sample: dict) -> np.ndarray:
        if min(gt.shape) < SSIM_WINDOW:
            raise UserError(
                f'SegmentationMetric: expected masks with sides of at least {SSIM_WINDOW} for '
                f'SSIM, found {gt.shape} for {sample.get("img_path", "a sample")}; take SSIM out '
                'of measures'
            )
        regions = self._measured_regions().values()
        return np.array([mask_ssim(np.isin(pred, ids), np.isin(gt, ids)) for ids in regions])

    def _empty_values(self, name: str) -> tuple[float, float]:
        """Value of a measure of distances where one mask is empty, and where both are."""
        if name == 'NSD':
            return 0.0, np.nan if self.empty_dice is None else self.empty_dice
        either = np.nan if self.empty_distance is None else self.empty_distance
        return either, either if self.both_empty_distance is None else self.both_empty_distance

    def process_sample(self, sample: dict) -> dict:
        """Keep the confusion matrix and the distances; for cases the packed label maps too."""
        pred = self.take(sample, 'pred_sem_seg', 'data')[0]
        gt = self.take(sample, 'gt_sem_seg', 'data')[0]
        self.check_shape(pred.shape, gt.shape, sample)
        regions = self.regions(self.unions)
        confusion = self.confusion(sample, pred, gt, self.ignore_index)
        item = {
            'confusion': confusion,
            'annotated': self.annotated_regions(sample, regions),
            'case': self.case_of(sample, self.group_by),
        }
        pred, gt = pred.astype(np.int16), gt.astype(np.int16)
        pred[gt == self.ignore_index] = -1
        gt[gt == self.ignore_index] = -1
        spacing = self._spacing(sample, gt.ndim)
        if names := self._distance_measures():
            item['distances'] = self._distances(pred, gt, spacing, names)
        if 'SSIM' in self.measures and self.wants('SSIM.any'):
            item['ssim'] = self._ssim(pred, gt, sample)
        if self.group_by is not None and self._distance_measures('case_'):
            item.update(pred=pack_map(pred), gt=pack_map(gt), spacing=spacing)
            item['slice'] = self._slice(sample)
        return item

    def compute(self, items: list[dict]) -> Mapping[str, float]:
        """Compute over the data set, per image and, with ``group_by``, per case."""
        values = self._dataset_values(items)
        values.update(self._mean_values(items))
        if self.group_by is not None:
            cases = [self._case(members) for members in group_items(items).values()]
            values.update(
                {f'case_{key}': value for key, value in self._mean_values(cases, 'case_').items()}
            )
            values['num_cases'] = len(cases)
        self._print(values)
        return values

    def _spacing(self, sample: dict, num_axes: int) -> tuple[float, ...] | None:
        if self.distance_unit == 'pixel':
            return None
        spacing = sample.get('spacing')
        if spacing is None or len(spacing) < num_axes:
            raise UserError(
                f'SegmentationMetric: expected spacing of {num_axes} axes in mm for '
                f"distance_unit='mm', found {spacing} for {sample.get('img_path', 'a sample')}; "
                "add it to the annotations or use distance_unit='pixel'"
            )
        if self.group_by is None:
            return tuple(spacing[-num_axes:])
        if self.slice_spacing is None and len(spacing) == num_axes:
            raise UserError(
                'SegmentationMetric: expected slice_spacing (mm) for cases in mm, found only '
                f'the spacing {tuple(spacing)} inside a slice; set slice_spacing'
            )
        between = self.slice_spacing if len(spacing) == num_axes else spacing[0]
        return (float(between), *spacing[-num_axes:])

    def _slice(self, sample: dict) -> int:
        if sample.get(self.slice_key) is None:
            raise UserError(
                f'SegmentationMetric: expected {self.slice_key} in the metainfo of each sample '
                f'(group_by), found none for {sample.get("img_path", "a sample")}; add it to '
                'meta_keys or set group_by=None'
            )
        return int(sample[self.slice_key])

    def _case(self, members: list[dict]) -> dict[str, Any]:
        """One item for the volume that the slices of a case make."""
        case = {
            'confusion': np.sum([member['confusion'] for member in members], axis=0),
            'annotated': np.all([member['annotated'] for member in members], axis=0),
        }
        if names := self._distance_measures('case_'):
            slices = [member['slice'] for member in members]
            maps = [[unpack_map(member[key]) for member in members] for key in ('pred', 'gt')]
            if len(set(slices)) < len(slices) or len({m.shape for m in maps[0]}) > 1:
                raise UserError(
                    f'SegmentationMetric: expected slices of one size and different numbers in '
                    f'case {members[0]["case"]}, found numbers {sorted(slices)} and sizes '
                    f'{sorted({m.shape for m in maps[0]})}; mend the annotations'
                )
            pred, gt = (stack_slices(each, slices) for each in maps)
            case['distances'] = self._distances(pred, gt, members[0]['spacing'], names)
        return case

    def _dataset_values(self, items: list[dict]) -> dict[str, float]:
        regions = self.regions(self.unions)
        counts = self._counts(items, regions)
        annotated = np.stack([item['annotated'] for item in items])
        total = OverlapCounts(*((each * annotated).sum(0) for each in counts))
        values = {}
        num_classes = len(regions) - len(self.unions)
        for name, function in _OVERLAP.items():
            each = function(total, empty=None)
            values[f'm{name}'] = mean(each[:num_classes])
            values.update(
                {f'dataset_{name}.{key}': v for key, v in zip(regions, each, strict=True)}
            )
        return values

    @staticmethod
    def _counts(items: list[dict], regions: dict[str, tuple[int, ...]]) -> OverlapCounts:
        """Counts ``(N, regions)``."""
        return overlap_counts(
            np.stack([item['confusion'] for item in items]), list(regions.values())
        )

    def _mean_values(self, items: list[dict], case: str = '') -> dict[str, float]:
        regions = self._measured_regions()
        counts = self._counts(items, regions)
        annotated = np.stack([item['annotated'] for item in items])
        annotated = annotated[:, annotated.shape[1] - len(regions) :]
        in_pred, in_gt = counts.pred > 0, counts.target > 0
        values = {}
        of_counts = _OVERLAP | _SHARES
        for name in self.measures:
            if name in of_counts:
                each = of_counts[name](counts, empty=self.empty_dice)
                values.update(self._means(name, each, annotated, regions))
            if name in _OVERLAP:
                values.update(_mean_of(f'median_{name}', each, annotated, regions, median))
        if 'ssim' in items[0]:
            each = np.stack([item['ssim'] for item in items])
            values.update(self._means('SSIM', each, annotated, regions))
        for index, name in enumerate(self._distance_measures(case)):
            # NaN exactly where either mask is empty.
            each = np.stack([item['distances'][:, index] for item in items])
            values.update(_mean_of(f'{name}_found', each, annotated, regions))
            either, both = self._empty_values(name)
            each = np.where(in_pred & in_gt, each, np.where(in_pred | in_gt, either, both))
            values.update(self._means(name, each, annotated, regions))
        states = (in_gt & ~in_pred, in_pred & ~in_gt, ~in_pred & ~in_gt)
        for name, state in zip(_COUNTS, states, strict=True):
            number = (state & annotated).sum(0)
            values.update({f'{name}.{key}': v for key, v in zip(regions, number, strict=True)})
        return values

    def _means(
        self, name: str, values: np.ndarray, annotated: np.ndarray, regions: Mapping[str, Any]
    ) -> dict[str, float]:
        """Mean over the items for each region, and the mean of these over the classes."""
        means = _mean_of(name, values, annotated, regions)
        classes = [
            value
            for key, value in zip(regions, means.values(), strict=True)
            if key not in self.unions
        ]
        return {f'mean_{name}': mean(classes), **means}

    def _print(self, values: dict[str, float]) -> None:
        """Print a row for each region and a column for each kind of value; cases apart."""
        shown = {key: value for key, value in values.items() if self.wants(key)}
        kinds = list(dict.fromkeys(key.split('.', 1)[0] for key in shown if '.' in key))
        kinds = [kind for kind in kinds if not kind.endswith('_found')]
        for title in ('images', 'cases'):
            columns = [kind for kind in kinds if kind.startswith('case_') == (title == 'cases')]
            if not columns:
                continue
            rows = [
                [name, *(shown.get(f'{column}.{name}', np.nan) for column in columns)]
                for name in self.regions(self.unions)
            ]
            table = format_table(['region', *columns], rows)
            print_log(f'Segmentation, {title}{table}', logger='current')
        means = [f'{name} {value:.4f}' for name, value in shown.items() if _is_mean(name)]
        if means:
            print_log(', '.join(means), logger='current')


def _mean_of(
    name: str,
    values: np.ndarray,
    annotated: np.ndarray,
    regions: Mapping[str, Any],
    average: Callable[[np.ndarray], float] = mean,
) -> dict[str, float]:
    """Average over the items in which a region is annotated; NaN values are left out."""
    values = np.where(annotated, values, np.nan)
    return {f'{name}.{key}': average(values[:, index]) for index, key in enumerate(regions)}


def _is_mean(key: str) -> bool:
    return key in ('mIoU', 'mDice') or key.removeprefix('case_').startswith('mean_')
