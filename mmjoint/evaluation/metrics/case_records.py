import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmjoint.functional.calibration import calibration_bins
from mmjoint.functional.overlap import confusion_matrix, dice_from_counts, overlap_counts
from mmjoint.functional.surface import assd_from_distances, surface_distances
from mmjoint.functional.uncertainty_scale import primary_measure, uncertainty_upper_bound
from mmjoint.registry import METRICS
from mmjoint.utils.case_archive import CaseArchive, write_case_archive
from mmjoint.utils.pictures import to_picture, without_padding

from .case_parts import (
    case_order,
    classification_record,
    drop_pictures,
    encode_thumbnail,
    explanation_maps,
    map_scores,
    right_wrong_histograms,
    slice_of_interest,
    stack_tables,
    take_field,
    to_numpy,
    uncertainty_maps,
)
from .task_case_parts import shrink_labels, task_record


@METRICS.register_module()
class CaseRecords(BaseMetric):
    """Collect what the report of a test run shows: one small record per case.

    It gives no metric. Where ``out_dir`` is set, rank 0 writes ``cases.json`` and ``cases.npz``
    there (see :mod:`mmjoint.utils.case_archive`); the files do not depend on the number of
    processes. Any field of a sample may be absent; its part of the record is then ``None``.

    A record holds ``img_path``, ``patient_id``, ``sample_idx``, ``domain``, ``gt_label``,
    ``pred_label``, ``pred_score`` (K,), ``cls_alpha`` (K,), ``cls_uncertainty`` {measure: value},
    ``dice`` and ``assd`` {region: value or ``None``}, ``seg_uncertainty`` {measure: {aggregation:
    score or ``None``}} (see :mod:`mmjoint.functional.aggregation`), ``num_pixels``,
    ``num_wrong_pixels``.
    Tables over cases: ``confusion`` (N, C, C), ``calibration`` (N, 3, bins),
    ``uncertainty/<measure>`` (N, 2, 50): histograms of the measure over [0, upper bound] for right
    and for wrong pixels. Pictures: ``image``, ``gt``, ``pred`` (class ids), ``uncertainty``
    (0..255 over the measure's range), ``saliency`` and ``class_activation`` (0..255 over the range
    up to their 99th percentile).

    Of a sample of several tasks the regions are the channels of the annotated ones, with ``iou``
    beside ``dice``; the tables ``uncertainty/<measure>_<task>`` count a pixel as right where all
    channels are; and the pictures are ``gt/<task>``, ``pred/<task>`` and ``uncertainty/<task>``.

    Args:
        out_dir: Folder of the files. ``None`` collects nothing.
        unions: Name -> class ids of further regions beside the classes: ``dict(disc=(1, 2))``.
        thumbnail_size: Longer side of the pictures, in pixels.
        max_pictures: Pictures are kept for the so many most uncertain cases (by class and by
            mask) and the so many worst ones, not for all of a large set.
        num_bins: Of the calibration tables.
        with_surface: Measure the average symmetric surface distance of each region, in pixels.
        empty_distance: Distance where just one or both masks are empty; ``None`` leaves such
            cases out.
        empty_dice: Dice where both masks are empty; ``None`` leaves such cases out.
        ignore_index: Value of the ground truth that marks pixels without annotation.
        prefix: See :class:`~mmjoint.evaluation.metrics.base.JointMetric`.
        collect_device: See :class:`~mmjoint.evaluation.metrics.base.JointMetric`.
        collect_dir: See :class:`~mmjoint.evaluation.metrics.base.JointMetric`.
    """

    default_prefix = 'cases'

    def __init__(
        self,
        out_dir: str | os.PathLike[str] | None = None,
        unions: Mapping[str, Sequence[int]] | None = None,
        thumbnail_size: int = 160,
        max_pictures: int = 200,
        num_bins: int = 15,
        with_surface: bool = True,
        empty_distance: float | None = 10.0,
        empty_dice: float | None = 0.0,
        ignore_index: int = 255,
        collect_device: str = 'gpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.out_dir = out_dir
        self.unions = {name: tuple(ids) for name, ids in (unions or {}).items()}
        self.thumbnail_size = thumbnail_size
        self.max_pictures = max_pictures
        self.num_bins = num_bins
        self.with_surface = with_surface
        self.empty_distance = empty_distance
        self.empty_dice = empty_dice
        self.ignore_index = ignore_index
        self._num_unchecked = 0

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Append one item per sample: its record, its tables, its pictures.

        Args:
            data_batch: ``inputs`` are the images as the network gets them, ``(C, H, W)`` or
                ``(C, D, H, W)`` each; they become the pictures (see
                :func:`mmjoint.utils.pictures.to_picture`).
            data_samples: Samples as dicts.
        """
        inputs = data_batch.get('inputs') if isinstance(data_batch, dict) else None
        for index, sample in enumerate(data_samples):
            if self.out_dir is None:
                self.results.append({})
                continue
            image = None if inputs is None else inputs[index]
            self.results.append(self._collect(image, sample))
        self._num_unchecked += len(data_samples)
        if self._num_unchecked > 4 * self.max_pictures:
            drop_pictures(self.results, self.max_pictures)
            self._num_unchecked = 0

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Write the files; give no metric."""
        if self.out_dir is None:
            return {}
        items = sorted(results, key=case_order)
        drop_pictures(items, self.max_pictures)
        names = sorted({name for item in items for name in item['tables']})
        tables = {
            name: stack_tables([item['tables'].get(name) for item in items]) for name in names
        }
        archive = CaseArchive(
            info=self._info(items),
            cases=[item['record'] for item in items],
            tables=tables,
            pictures={i: item['pictures'] for i, item in enumerate(items) if 'pictures' in item},
        )
        write_case_archive(self.out_dir, archive)
        return {}

    def _info(self, items: list[dict]) -> dict[str, Any]:
        meta = self.dataset_meta or {}
        num_classes = max((item['num_classes'] for item in items), default=2)
        measures = sorted({m for item in items for m in item['record']['seg_uncertainty'] or ()})
        return {
            'classes': [str(name) for name in meta.get('classes') or ()],
            'cls_classes': [str(name) for name in meta.get('cls_classes') or ()],
            'palette': [list(map(int, colour)) for colour in meta.get('palette') or ()],
            'unions': {name: list(map(int, ids)) for name, ids in self.unions.items()},
            'num_classes': num_classes,
            'ignore_index': self.ignore_index,
            'empty_dice': self.empty_dice,
            'empty_distance': self.empty_distance,
            'uncertainty_bounds': {m: uncertainty_upper_bound(m, num_classes) for m in measures},
            'picture_measure': primary_measure(measures),
            'tasks': self._tasks(),
        }

    def _tasks(self) -> dict[str, dict[str, list[int]]]:
        table = (self.dataset_meta or {}).get('tasks') or {}
        return {
            task: {name: [int(value) for value in values] for name, values in channels.items()}
            for task, channels in table.items()
        }

    def _collect_tasks(self, image: Any, sample: dict, record: dict[str, Any]) -> dict[str, Any]:
        """Give the item of a sample that has several tasks."""
        maps = uncertainty_maps(sample, None)
        own, tables, planes = task_record(sample, maps, self._tasks(), self.with_surface)
        item = {'record': record | own, 'tables': tables, 'num_classes': 2}
        shape = next(iter(planes.values())).shape if planes else sample.get('ori_shape')
        shape = None if shape is None else tuple(int(length) for length in shape[:2])
        if image is not None:
            planes['image'] = without_padding(to_picture(image), sample)
        item['pictures'] = {}
        for kind, plane in planes.items():
            if kind.startswith(('gt/', 'pred/')):
                plane = self._small_labels(plane)
            item['pictures'][kind] = encode_thumbnail(plane, kind, self.thumbnail_size, shape)
        return item

    def _small_labels(self, labels: np.ndarray) -> np.ndarray:
        scale = self.thumbnail_size / max(labels.shape)
        size = tuple(max(1, round(length * scale)) for length in labels.shape[::-1])
        return shrink_labels(labels, size) if scale < 1 else labels

    def _collect(self, image: Any, sample: dict) -> dict[str, Any]:
        record: dict[str, Any] = {
            'img_path': str(sample.get('img_path', '')),
            'patient_id': None if sample.get('patient_id') is None else str(sample['patient_id']),
            'sample_idx': sample.get('sample_idx'),
            'domain': None if sample.get('domain') is None else str(sample['domain']),
        }
        record.update(classification_record(sample))
        if 'pred_tasks' in sample or 'gt_tasks' in sample:
            return self._collect_tasks(image, sample, record)
        gt = take_field(sample, 'gt_sem_seg', 'data')
        pred = take_field(sample, 'pred_sem_seg', 'data')
        logits = take_field(sample, 'seg_logits', 'data')
        gt, pred = (None if labels is None else to_numpy(labels)[0] for labels in (gt, pred))
        num_classes = self._num_classes(logits, gt, pred)
        maps = uncertainty_maps(sample, logits)
        tables: dict[str, np.ndarray] = {}
        if gt is not None and pred is not None:
            if gt.shape != pred.shape:
                raise ValueError(
                    f'{record["img_path"]}: gt_sem_seg is {gt.shape}, pred_sem_seg {pred.shape}; '
                    'predictions must come at the size of the ground truth'
                )
            annotated = sample.get('annotated_classes')
            tables['confusion'] = confusion_matrix(
                pred, gt, num_classes, ignore_index=self.ignore_index
            )
            record.update(self._overlap(tables['confusion'], gt, pred, annotated))
            known = self._known(gt, annotated, num_classes)
            right = (gt == pred)[known]
            record.update(num_pixels=right.size, num_wrong_pixels=int((~right).sum()))
            if logits is not None:
                probs = torch.as_tensor(logits).detach().cpu().float().softmax(0)
                confidence = probs.max(0).values.numpy()[known]
                finite = np.isfinite(confidence)
                tables['calibration'] = calibration_bins(
                    np.clip(confidence[finite], 0, 1), right[finite], num_bins=self.num_bins
                )
            for measure, values in maps.items():
                upper = uncertainty_upper_bound(measure, num_classes)
                tables[f'uncertainty/{measure}'] = right_wrong_histograms(
                    values[known], right, upper
                )
        else:
            record.update(dice=None, assd=None, num_pixels=None, num_wrong_pixels=None)
        record['has_foreground'] = None if pred is None else bool((pred != 0).any())
        record['seg_uncertainty'] = map_scores(maps, pred)
        item = {'record': record, 'tables': tables, 'num_classes': num_classes}
        pictures = self._pictures(sample, image, gt, pred, maps, num_classes)
        if pictures:
            item['pictures'] = pictures
        return item

    def _num_classes(
        self, logits: Tensor | None, gt: np.ndarray | None, pred: np.ndarray | None
    ) -> int:
        classes = (self.dataset_meta or {}).get('classes')
        if classes:
            return max(2, len(classes))
        if logits is not None:
            return max(2, int(logits.shape[0]))
        largest = [
            int(labels[labels != self.ignore_index].max(initial=0))
            for labels in (gt, pred)
            if labels is not None
        ]
        return max([1, *largest]) + 1

    def _known(
        self, gt: np.ndarray, annotated: Sequence[int] | None, num_classes: int
    ) -> np.ndarray:
        """Give the pixels whose class the reference tells.

        Where only some classes are annotated, any other may hide in the background.
        """
        known = gt != self.ignore_index
        if annotated is not None and not set(range(1, num_classes)) <= set(annotated):
            known &= gt != 0
        return known

    def _overlap(
        self,
        confusion: np.ndarray,
        gt: np.ndarray,
        pred: np.ndarray,
        annotated: Sequence[int] | None,
    ) -> dict[str, Any]:
        """Measure every annotated region: class or union of classes, without background."""
        names = [str(name) for name in (self.dataset_meta or {}).get('classes') or ()]
        names += [f'class {index}' for index in range(len(names), len(confusion))]
        regions = {name: (index,) for index, name in enumerate(names)} | self.unions
        known = set(range(len(names))) if annotated is None else set(annotated)
        counted = gt != self.ignore_index
        dice: dict[str, float | None] = {}
        assd: dict[str, float | None] = {}
        for name, ids in regions.items():
            if 0 in ids or not set(ids) <= known:
                continue
            counts = overlap_counts(confusion, [ids])
            value = float(dice_from_counts(counts, empty=None)[0])
            dice[name] = None if np.isnan(value) else value
            if self.with_surface:
                masks = [np.isin(labels, ids) & counted for labels in (pred, gt)]
                distances = surface_distances(*masks)
                assd[name] = None if distances is None else assd_from_distances(distances)
        return {'dice': dice, 'assd': assd if self.with_surface else None}

    def _pictures(
        self,
        sample: dict,
        image: Any,
        gt: np.ndarray | None,
        pred: np.ndarray | None,
        maps: dict[str, np.ndarray],
        num_classes: int,
    ) -> dict[str, bytes]:
        planes: dict[str, np.ndarray] = {}
        if image is not None:
            planes['image'] = to_picture(image)
        for kind, labels in (('gt', gt), ('pred', pred)):
            if labels is not None:
                planes[kind] = labels.astype(np.uint8)
        measure = primary_measure(list(maps))
        if measure is not None:
            upper = uncertainty_upper_bound(measure, num_classes)
            scaled = np.clip(np.nan_to_num(maps[measure]) / upper, 0, 1)
            planes['uncertainty'] = np.rint(scaled * 255).astype(np.uint8)
        planes |= explanation_maps(sample)
        index = slice_of_interest(planes, self.ignore_index)
        shape = None
        if index is None and image is not None:
            # The image is that of the network; what is predicted has the size of the file.
            planes['image'] = without_padding(planes['image'], sample)
            others = [plane.shape for kind, plane in planes.items() if kind != 'image']
            shape = others[0] if others else sample.get('ori_shape')
            shape = None if shape is None else tuple(int(length) for length in shape[:2])
        return {
            kind: encode_thumbnail(
                plane if index is None else plane[index], kind, self.thumbnail_size, shape
            )
            for kind, plane in planes.items()
        }
