from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from mmjoint.functional.overlap import confusion_matrix
from mmjoint.utils.errors import UserError

_NO_LABELS = '_no_labels'
# The item of an unlabelled sample. Not None: mmengine drops None when it gathers from several
# ranks, and samples that a rank repeated to fill up would then count instead.
_UNLABELLED: dict = {}
# The item of a sample of another domain, which does not count at all.
_ELSEWHERE = {'_elsewhere': True}


class JointMetric(BaseMetric):
    """Base of our metrics: one small item per sample, unlabelled samples left out.

    A subclass writes ``process_sample`` (one labelled sample -> one item of plain CPU values) and
    ``compute`` (all items -> plain floats), and names in ``label_key`` the ground truth without
    which a sample is unlabelled, and in ``eval_keys`` what ``--eval`` can ask it for.

    The items of all ranks are gathered through the process group (``collect_device='gpu'`` in
    mmengine's words, which gloo does on CPU as well): no shared folder is needed.

    Args:
        prefix: First part of the result keys; the class has a default.
        domain: Of a test set made of several: only samples with this ``domain`` in their metainfo
            count, and the result keys begin with it, as in ``montgomery/seg/mean_Dice``.
        collect_device: ``gpu``: through the process group; ``cpu``: through files in a folder that
            all ranks see.
        collect_dir: That folder.
    """

    label_key: str
    eval_keys: Mapping[str, tuple[str, ...]] = {}
    """For each name of ``--eval``: patterns of the result keys (without prefix) that it stands for.
    """
    counts_samples = False
    """Whether the results tell how many samples were evaluated and how many had no label."""

    def __init__(
        self,
        prefix: str | None = None,
        collect_device: str = 'gpu',
        collect_dir: str | None = None,
        domain: str | None = None,
    ) -> None:
        if domain is not None:
            prefix = '/'.join(part for part in (domain, prefix or self.default_prefix) if part)
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.domain = domain
        self._restricted_to: tuple[str, ...] | None = None

    @property
    def eval_names(self) -> tuple[str, ...]:
        """The names that ``--eval`` accepts for this metric."""
        return tuple(self.eval_keys)

    def restrict(self, names: Iterable[str]) -> None:
        """Compute and print only what these names of ``eval_names`` stand for."""
        self._restricted_to = tuple(names)

    def wants(self, key: str) -> bool:
        """Whether a result key (without prefix) is to be computed."""
        if self._restricted_to is None:
            return True
        return any(self.matches(key, name) for name in self._restricted_to)

    def matches(self, key: str, name: str) -> bool:
        """Whether a result key (without prefix) belongs to a name of ``eval_names``."""
        return any(fnmatchcase(key, pattern) for pattern in self.eval_keys.get(name, ()))

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Append one item per sample; a mere mark for those that do not count.

        Args:
            data_batch: Not used.
            data_samples: Predicted and annotated samples as dicts.
        """
        for sample in data_samples:
            if self.domain is not None and sample.get('domain') != self.domain:
                self.results.append(_ELSEWHERE)
                continue
            labelled = self.label_key in sample
            self.results.append(self.process_sample(sample) if labelled else _UNLABELLED)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the results of the labelled samples.

        Args:
            results: The items of all samples, in the order of the data set.
        """
        results = [item for item in results if '_elsewhere' not in item]
        items = [item for item in results if item]
        if not items:
            # Only rank 0 comes here. The others wait for its answer, so the error is raised where
            # all ranks have it, in `evaluate`.
            return {_NO_LABELS: float(len(results))}
        values = {key: float(value) for key, value in self.compute(items).items()}
        unlabelled = len(results) - len(items)
        if self.counts_samples:
            values.update(num_samples=float(len(items)), num_unlabelled=float(unlabelled))
        if unlabelled:
            print_log(
                f'{type(self).__name__}: {unlabelled} of {len(results)} samples have no '
                f'{self.label_key} and are left out',
                logger='current',
            )
        return {key: value for key, value in values.items() if self.wants(key)}

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather the items of all ranks and compute.

        Args:
            size: Number of samples of the data set; what ranks have padded is cut off.

        Raises:
            UserError: If no sample of the split has the ground truth that the metric needs.
        """
        results = super().evaluate(size)
        key = f'{self.prefix}/{_NO_LABELS}' if self.prefix else _NO_LABELS
        if key in results:
            where = '' if self.domain is None else f' of the domain {self.domain!r}'
            raise UserError(
                f'{type(self).__name__}: expected samples with {self.label_key}, found none in '
                f'{int(results[key])} samples{where}; evaluate a labelled split or remove this '
                'metric'
            )
        return results

    def names_of(self, key: str, count: int | None = None) -> list[str]:
        """Class names from the data set's meta information.

        Args:
            key: ``classes`` (of the mask) or ``cls_classes`` (of the image).
            count: Number of classes that the model gives; ``None`` does not check it.

        Raises:
            UserError: If the data set has another number of classes, or names are needed and it
                has none.
        """
        names = (self.dataset_meta or {}).get(key)
        if names is None:
            if count is None:
                raise UserError(
                    f'{type(self).__name__}: expected {key} in the metainfo of the data set, '
                    'found none; name the classes there'
                )
            return [str(index) for index in range(count)]
        if count is not None and len(names) != count:
            raise UserError(
                f'{type(self).__name__}: expected {len(names)} values for the {key} of the data '
                f'set ({", ".join(names)}), found {count} from the model; mend num_classes'
            )
        return list(names)

    def take(self, sample: dict, field: str, of: str | None = None) -> np.ndarray:
        """Read a field of a sample as an array.

        Args:
            sample: The sample as a dict.
            field: Name of the field.
            of: Name of the part inside, for fields of pixels: ``data`` or a measure.

        Raises:
            UserError: If the model did not fill the field.
        """
        value = sample.get(field)
        if value is not None and of is not None:
            value = value.get(of)
        if value is None:
            missing = field if of is None or of == 'data' else f'{field}.{of}'
            giver = ' (or set model.test_cfg.bounded=False)' if field == 'seg_logits' else ''
            raise UserError(
                f'{type(self).__name__}: expected {missing} in the predictions, found '
                f'{sorted(k for k in sample if k.startswith(("pred", "seg", "cls")))} '
                f'({sample.get("img_path", "no img_path")}); use a model that gives it'
                f'{giver} or remove this metric'
            )
        if not isinstance(value, Tensor):
            return np.asarray(value)
        # NumPy has no bfloat16, and half precision is too coarse for what follows.
        half = value.dtype in (torch.float16, torch.bfloat16)
        return (value.float() if half else value).detach().cpu().numpy()

    def case_of(self, sample: dict, key: str | None) -> str | None:
        """Read what a sample is grouped by.

        Raises:
            UserError: If the sample lacks it.
        """
        if key is None:
            return None
        if sample.get(key) is None:
            raise UserError(
                f'{type(self).__name__}: expected {key} in the metainfo of each sample '
                f'(group_by), found none for {sample.get("img_path", "a sample")}; add it to '
                'meta_keys or set group_by=None'
            )
        return str(sample[key])

    def known_pixels(self, sample: dict, gt: np.ndarray, ignore_index: int) -> np.ndarray:
        """Pixels whose class the reference mask tells.

        Ignored pixels do not count; nor does the background of an image of which only some
        classes are annotated, since any other class may hide there.

        Args:
            sample: The sample as a dict.
            gt: Its reference class ids.
            ignore_index: Value of pixels without a class.

        Returns:
            bool, the shape of ``gt``.
        """
        known = gt != ignore_index
        annotated = sample.get('annotated_classes')
        if annotated is not None:
            foreground = range(1, len(self.names_of('classes')))
            if not set(foreground) <= set(annotated):
                known &= gt != 0
        return known

    def regions(self, unions: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
        """Give all classes, background first, then the unions of classes, with their class ids.

        Raises:
            UserError: If a union has the name of a class or ids that are none.
        """
        names = self.names_of('classes')
        regions: dict[str, tuple[int, ...]] = {name: (i,) for i, name in enumerate(names)}
        for name, ids in unions.items():
            if name in regions or not ids or not set(ids) <= set(range(len(names))):
                raise UserError(
                    f'{type(self).__name__}: expected unions of the class ids 0..{len(names) - 1} '
                    f'under a name of their own, found {name}={ids}; classes are '
                    f'{", ".join(names)}'
                )
            regions[name] = tuple(ids)
        return regions

    def annotated_regions(self, sample: dict, regions: Mapping[str, Sequence[int]]) -> np.ndarray:
        """Tell which regions the reference mask of a sample holds; bool, one per region."""
        annotated = sample.get('annotated_classes')
        if annotated is None:
            return np.ones(len(regions), bool)
        # What is not annotated hides in the background, so background needs all classes.
        complete = set(annotated) | {0} >= set(range(len(self.names_of('classes'))))
        return np.array(
            [complete if 0 in ids else set(ids) <= set(annotated) for ids in regions.values()]
        )

    def confusion(
        self, sample: dict, pred: np.ndarray, gt: np.ndarray, ignore_index: int
    ) -> np.ndarray:
        """Count pairs of (reference, predicted) class of a sample; int64 ``(C, C)``.

        Raises:
            UserError: If a class id is none of the data set's.
        """
        num_classes = len(self.names_of('classes'))
        try:
            return confusion_matrix(pred, gt, num_classes, ignore_index=ignore_index)
        except ValueError as error:
            raise UserError(
                f'{type(self).__name__}: {sample.get("img_path", "a sample")}: {error}; mend the '
                'mask, the classes of the data set or num_classes of the model'
            ) from error

    def check_shape(self, found: tuple[int, ...], expected: tuple[int, ...], sample: dict) -> None:
        """Check that a predicted map has the size of the reference mask.

        Raises:
            UserError: If it has not.
        """
        if tuple(found) != tuple(expected):
            raise UserError(
                f"{type(self).__name__}: expected predictions of the mask's size "
                f'{tuple(expected)}, found {tuple(found)} for '
                f'{sample.get("img_path", "a sample")}; predict at the size of gt_sem_seg'
            )

    @abstractmethod
    def process_sample(self, sample: dict) -> dict:
        """Reduce one labelled sample to a small item, not empty, of plain CPU values."""

    @abstractmethod
    def compute(self, items: list) -> Mapping[str, float]:
        """Compute results, without prefix, from the items of all labelled samples."""


def mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there is none."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float('nan')


def median(values: Sequence[float] | np.ndarray) -> float:
    """Median of the values that are not NaN; NaN if there is none."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return float(np.median(values)) if values.size else float('nan')


def group_items(items: Iterable[dict]) -> dict[str, list[dict]]:
    """Group items by their ``case``, in the order of first appearance."""
    groups: dict[str, list[dict]] = {}
    for item in items:
        groups.setdefault(item['case'], []).append(item)
    return groups


def format_table(header: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """Lay out a small table as text; numbers get 4 decimals, NaN a dash.

    Args:
        header: Column titles.
        rows: Cells; the first of each row is its title.
    """

    def text(cell: str | float) -> str:
        if isinstance(cell, str):
            return cell
        if isinstance(cell, (int, np.integer)):
            return str(cell)
        return '-' if np.isnan(cell) else f'{cell:.4f}'

    cells = [list(header), *([text(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        '| '
        + ' | '.join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + ' |'
        for row in cells
    ]
    rule = '+' + '+'.join('-' * (width + 2) for width in widths) + '+'
    return '\n'.join(['', rule, lines[0], rule, *lines[1:], rule])
