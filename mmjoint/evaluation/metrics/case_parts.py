"""Parts of a case's record, and which cases keep their pictures."""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from mmjoint.functional.aggregation import aggregate_maps
from mmjoint.functional.explanation_scale import EXPLANATIONS, explanation_upper
from mmjoint.functional.uncertainty_scale import leading_score, primary_measure

UNCERTAINTY_BINS = 50


def take_field(sample: dict, name: str, key: str) -> Any:
    """Give ``sample[name][key]``, ``None`` where either is absent."""
    value = sample.get(name)
    return None if value is None else value.get(key)


def to_numpy(value: Any) -> np.ndarray:
    """Give a tensor of any device, or anything array-like, as an array."""
    if not isinstance(value, Tensor):
        return np.asarray(value)
    # NumPy has no bfloat16.
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _label(value: Any) -> int | None:
    return None if value is None else int(to_numpy(value).reshape(-1)[0])


def classification_record(sample: dict) -> dict[str, Any]:
    """Give the image-level part of a record; vacuity and entropy are worked out where absent."""
    alpha, score = sample.get('cls_alpha'), sample.get('pred_score')
    alpha = None if alpha is None else to_numpy(alpha).astype(np.float64).reshape(-1)
    score = None if score is None else to_numpy(score).astype(np.float64).reshape(-1)
    if score is None and alpha is not None:
        score = alpha / alpha.sum()
    measures = {
        str(name): float(to_numpy(value).reshape(-1)[0])
        for name, value in (sample.get('cls_uncertainty') or {}).items()
    }
    if alpha is not None:
        measures.setdefault('vacuity', float(alpha.size / alpha.sum()))
    if score is not None:
        logs = np.log(score, out=np.zeros_like(score), where=score > 0)
        measures.setdefault('predictive_entropy', float(-(score * logs).sum()))
    pred_label = _label(sample.get('pred_label'))
    if pred_label is None and score is not None:
        pred_label = int(score.argmax())
    return {
        'gt_label': _label(sample.get('gt_label')),
        'pred_label': pred_label,
        'pred_score': None if score is None else score.tolist(),
        'cls_alpha': None if alpha is None else alpha.tolist(),
        'cls_uncertainty': measures or None,
    }


def uncertainty_maps(sample: dict, logits: Tensor | None) -> dict[str, np.ndarray]:
    """Give ``{measure: (*space)}`` float64; the entropy of the logits where it is absent."""
    maps = {
        str(name): to_numpy(value)[0].astype(np.float64)
        for name, value in (sample.get('seg_uncertainty') or {}).items()
    }
    if logits is not None and 'predictive_entropy' not in maps:
        probs = torch.as_tensor(logits).detach().cpu().float().softmax(0)
        maps['predictive_entropy'] = torch.special.entr(probs).sum(0).double().numpy()
    return maps


def explanation_maps(sample: dict) -> dict[str, np.ndarray]:
    """Give the maps that explain the class, ``{name: (H, W)}`` float64."""
    maps = sample.get('explanations') or {}
    return {
        name: to_numpy(maps[name])[0].astype(np.float64) for name in EXPLANATIONS if name in maps
    }


def map_scores(maps: dict[str, np.ndarray], pred: np.ndarray | None) -> dict[str, dict] | None:
    """Give each map's scores by every aggregation, ``None`` where one is not defined."""
    if not maps:
        return None
    shapes = {values.shape for values in maps.values()}
    scores = aggregate_maps(maps, pred if pred is not None and shapes == {pred.shape} else None)
    return {
        measure: {name: None if np.isnan(value) else value for name, value in each.items()}
        for measure, each in scores.items()
    }


def right_wrong_histograms(values: np.ndarray, right: np.ndarray, upper: float) -> np.ndarray:
    """Count right (row 0) and wrong (row 1) pixels by uncertainty; int64 ``(2, bins)``."""
    finite = np.isfinite(values)
    index = np.clip(values[finite] / upper * UNCERTAINTY_BINS, 0, UNCERTAINTY_BINS - 1)
    index = index.astype(np.int64)
    right = right[finite]
    return np.stack(
        [np.bincount(index[chosen], minlength=UNCERTAINTY_BINS) for chosen in (right, ~right)]
    )


def slice_of_interest(planes: dict[str, np.ndarray], ignore_index: int) -> int | None:
    """Give the slice of a volume with the largest annotated or predicted area, else ``None``."""
    volumes = [planes[kind] for kind in ('gt', 'pred', 'uncertainty') if kind in planes]
    volumes += [planes['image'][..., 0]] if 'image' in planes else []
    if not volumes or volumes[0].ndim != 3:
        return None
    areas = np.zeros(volumes[0].shape[0])
    for kind in ('gt', 'pred'):
        if kind in planes:
            areas += ((planes[kind] != 0) & (planes[kind] != ignore_index)).sum((1, 2))
    return int(areas.argmax()) if areas.any() else len(areas) // 2


def encode_thumbnail(
    plane: np.ndarray, kind: str, size: int, shape: tuple[int, int] | None = None
) -> bytes:
    """Shrink to at most ``size`` pixels; ``image`` becomes a JPEG, maps become PNG.

    Args:
        plane: ``(H, W)`` or ``(H, W, 3)`` uint8; of what explains a class (see ``EXPLANATIONS``)
            float, which is brought to 0..255 over the range of :func:`explanation_upper`.
        kind: What it is.
        size: Of the longer side.
        shape: Size that the plane is shrunk from, where it was resized; its own by default.
    """
    height, width = shape or plane.shape[:2]
    scale = min(1.0, size / max(height, width))
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    if target != plane.shape[1::-1]:
        method = cv2.INTER_NEAREST_EXACT if kind in ('gt', 'pred') else cv2.INTER_AREA
        plane = cv2.resize(np.ascontiguousarray(plane), target, interpolation=method)
    if kind == 'image':
        plane = plane[:, :, ::-1] if plane.shape[-1] == 3 else plane[:, :, 0]
        return cv2.imencode('.jpg', plane, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    if kind in EXPLANATIONS:
        plane = np.clip(np.nan_to_num(plane) / explanation_upper(plane), 0, 1)
        plane = np.rint(plane * 255).astype(np.uint8)
    return cv2.imencode('.png', plane)[1].tobytes()


def stack_tables(tables: list[np.ndarray | None]) -> np.ndarray:
    """Stack tables of one case each; absent ones are 0, smaller ones are filled up with 0."""
    present = [table for table in tables if table is not None]
    shape = tuple(np.max([table.shape for table in present], axis=0))
    stacked = np.zeros((len(tables), *shape), present[0].dtype)
    for row, table in zip(stacked, tables, strict=True):
        if table is not None:
            row[tuple(slice(length) for length in table.shape)] = table
    return stacked


def case_order(item: dict) -> tuple:
    """Give the key that puts cases in the order of the data set."""
    record = item['record']
    index = record['sample_idx']
    return (-1 if index is None else int(index), record['img_path'])


def drop_pictures(items: list[dict], number: int) -> None:
    """Drop the pictures of cases that no gallery of ``number`` cases would show.

    What is kept of a part of the cases holds all that would be kept of the whole, so it does not
    matter how the cases are spread over processes.
    """
    kept = set()
    for score in (_class_uncertainty, _mask_uncertainty, _error):
        ranked = sorted(items, key=lambda item: (-score(item['record']), case_order(item)))
        kept |= {id(item) for item in ranked[:number]}
    for item in items:
        if id(item) not in kept:
            item.pop('pictures', None)


def _class_uncertainty(record: dict) -> float:
    measures = record['cls_uncertainty'] or {}
    measure = primary_measure(list(measures))
    return _or_lowest(None if measure is None else measures[measure])


def _mask_uncertainty(record: dict) -> float:
    found = leading_score(record['seg_uncertainty'] or {})
    return _or_lowest(None if found is None else found[1])


def _error(record: dict) -> float:
    wrong = record['gt_label'] is not None and record['gt_label'] != record['pred_label']
    dice = [value for value in (record['dice'] or {}).values() if value is not None]
    return float(wrong) + (1 - float(np.mean(dice)) if dice else 0.0)


def _or_lowest(value: float | None) -> float:
    return -1.0 if value is None or not np.isfinite(value) else value
