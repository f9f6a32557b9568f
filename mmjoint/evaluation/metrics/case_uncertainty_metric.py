from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.logging import print_log

from mmjoint.functional.aggregation import (
    AGGREGATIONS,
    MapSums,
    merge_sums,
    scores_from_sums,
    sum_maps,
)
from mmjoint.functional.overlap import dice_from_counts, overlap_counts
from mmjoint.functional.ranking import auroc, rank_correlation
from mmjoint.functional.risk_coverage import (
    area_under_risk_coverage,
    excess_area_under_risk_coverage,
    group_by_uncertainty,
)
from mmjoint.registry import METRICS

from .base import JointMetric, format_table, group_items, mean


@METRICS.register_module()
class CaseUncertaintyMetric(JointMetric):
    """Whether an uncertainty map, reduced to one score, finds the cases whose mask is poor.

    The risk of a case is 1 - mean Dice of its foreground regions. Results (keys after the prefix
    ``seg/``, m = the measure, a = one of :data:`mmjoint.functional.aggregation.AGGREGATIONS`):

    - ``case_AURC.m.a``: area under the risk-coverage curve: the mean risk of the cases that are
      left when the most uncertain ones go to a human, mean over all shares.
      ``case_E-AURC.m.a``: how far it is above that of the best order.
    - ``failure_AUROC.m.a``: area under the ROC curve of telling failed cases (mean Dice below
      ``failure_dice``) from others; 0.5 is chance, NaN where all or none failed.
    - ``case_Spearman.m.a``: rank correlation of the score with the risk.
    - ``num_cases.m``, ``num_failed.m``.

    A case whose score is not defined (``mean_foreground`` and ``per_predicted_volume`` where
    nothing is predicted) counts as more uncertain than all others. A region that neither mask
    holds is left out of the mean Dice; a case without any region in either mask has no risk and is
    left out of all. The table of the aggregations names the one that finds failed cases best: the
    largest ``failure_AUROC``, then, and where that is not defined, the smallest ``case_AURC``.

    Args:
        measure: ``predictive_entropy``, ``vacuity`` or any other field that the model fills.
        unions: See :class:`SegmentationMetric`: with ``dict(disc=(1, 2))`` the Dice of the disc
            counts as one of the foreground regions.
        failure_dice: A case with a smaller mean Dice has failed.
        patch_size: See :func:`mmjoint.functional.aggregation.aggregate_map`.
        boundary_width: See :func:`mmjoint.functional.aggregation.aggregate_map`.
        group_by: Metainfo key of the case (``patient_id``) where samples are slices of it;
            ``None``: each sample is a case. Dice and means then are those of the whole volume,
            patches and borders those of its slices.
        ignore_index: Value of pixels without a class; they count in the scores, not in the Dice.
        prefix: See :class:`JointMetric`.
        collect_device: See :class:`JointMetric`.
        collect_dir: See :class:`JointMetric`.
        domain: See :class:`JointMetric`.
    """

    default_prefix = 'seg'
    label_key = 'gt_sem_seg'
    eval_keys = {
        'case_AURC': ('case_AURC.*',),
        'case_E-AURC': ('case_E-AURC.*',),
        'failure_AUROC': ('failure_AUROC.*', 'num_cases.*', 'num_failed.*'),
        'case_Spearman': ('case_Spearman.*',),
    }

    def __init__(
        self,
        measure: str = 'predictive_entropy',
        unions: Mapping[str, Sequence[int]] | None = None,
        failure_dice: float = 0.8,
        patch_size: int = 10,
        boundary_width: int = 3,
        group_by: str | None = None,
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
        if not 0 < failure_dice <= 1:
            raise ValueError(f'failure_dice must lie in (0, 1], got {failure_dice}')
        if patch_size < 1 or boundary_width < 1:
            raise ValueError(
                f'patch_size and boundary_width must be >= 1, got {patch_size}, {boundary_width}'
            )
        self.measure = measure
        self.unions = {name: tuple(ids) for name, ids in (unions or {}).items()}
        self.failure_dice = failure_dice
        self.patch_size = patch_size
        self.boundary_width = boundary_width
        self.group_by = group_by
        self.ignore_index = ignore_index

    def process_sample(self, sample: dict) -> dict:
        """Keep the confusion matrix and the sums that the scores are made of."""
        values = self.take(sample, 'seg_uncertainty', self.measure)[0]
        pred = self.take(sample, 'pred_sem_seg', 'data')[0]
        gt = self.take(sample, 'gt_sem_seg', 'data')[0]
        self.check_shape(pred.shape, gt.shape, sample)
        self.check_shape(values.shape, gt.shape, sample)
        if not np.isfinite(values).all():
            raise ValueError(
                f'{self.measure} must be finite, got NaN or infinity for '
                f'{sample.get("img_path", "a sample")}'
            )
        sums = sum_maps(
            {self.measure: values},
            pred,
            patch_size=self.patch_size,
            boundary_width=self.boundary_width,
        )
        return {
            'confusion': self.confusion(sample, pred, gt, self.ignore_index),
            'annotated': self.annotated_regions(sample, self._foreground()),
            'sums': sums[self.measure],
            'case': self.case_of(sample, self.group_by),
        }

    def compute(self, items: list[dict]) -> Mapping[str, float]:
        """Compare scores and risks of the cases and print the table of the aggregations."""
        groups = [[item] for item in items]
        if self.group_by is not None:
            groups = list(group_items(items).values())
        dice = np.array([self._mean_dice(members) for members in groups])
        scores = [
            # When mmengine gathers items, named tuples become plain ones.
            scores_from_sums(merge_sums([MapSums(*member['sums']) for member in members]))
            for members in groups
        ]
        kept = ~np.isnan(dice)
        risk, failed = 1 - dice[kept], dice[kept] < self.failure_dice
        values: dict[str, float] = {
            f'num_cases.{self.measure}': risk.size,
            f'num_failed.{self.measure}': int(failed.sum()),
        }
        rows = []
        for name in AGGREGATIONS:
            each = _most_uncertain_if_undefined(np.array([score[name] for score in scores])[kept])
            groups_of_risk = group_by_uncertainty(each, risk)
            best = group_by_uncertainty(risk, risk)
            row = {
                'case_AURC': area_under_risk_coverage(*groups_of_risk),
                'case_E-AURC': excess_area_under_risk_coverage(*groups_of_risk, *best),
                'failure_AUROC': auroc(each, failed),
                'case_Spearman': rank_correlation(each, risk),
            }
            rows.append([name, *row.values()])
            values.update({f'{key}.{self.measure}.{name}': value for key, value in row.items()})
        self._print(rows, risk.size, int(failed.sum()), len(groups))
        return values

    def _foreground(self) -> dict[str, tuple[int, ...]]:
        return dict(list(self.regions(self.unions).items())[1:])

    def _mean_dice(self, members: list[dict]) -> float:
        """Mean Dice of the annotated regions that either mask of a case holds."""
        confusion = np.sum([member['confusion'] for member in members], axis=0)
        annotated = np.all([member['annotated'] for member in members], axis=0)
        counts = overlap_counts(confusion, list(self._foreground().values()))
        return mean(dice_from_counts(counts, empty=None)[annotated])

    def _print(self, rows: list[list], num_cases: int, num_failed: int, num_all: int) -> None:
        header = ['aggregation', 'AURC', 'E-AURC', 'failure AUROC', 'Spearman']
        text = (
            f'{self.measure}: {num_failed} of {num_cases} cases failed (mean Dice below '
            f'{self.failure_dice:g})'
        )
        if num_all > num_cases:
            text += f'; {num_all - num_cases} without any foreground are left out'
        lines = [f'Which score finds poor masks, {text}{format_table(header, rows)}']
        if num_cases:
            by_failure = not np.isnan(rows[0][3])
            best = min(rows, key=lambda row: (-row[3] if by_failure else 0.0, row[1]))
            reason = f'failure AUROC {best[3]:.4f}, ' if by_failure else ''
            lines.append(f'best: {best[0]} ({reason}AURC {best[1]:.4f})')
        print_log('\n'.join(lines), logger='current')


def _most_uncertain_if_undefined(scores: np.ndarray) -> np.ndarray:
    """Put NaN above all other scores; they tie."""
    return np.where(np.isnan(scores), np.nanmax(scores, initial=0.0) + 1, scores)
