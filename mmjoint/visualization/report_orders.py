"""In which order the cases of a test run would go to a human, and what that brings."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmjoint.functional.aggregation import AGGREGATIONS
from mmjoint.functional.ranking import auroc
from mmjoint.functional.risk_coverage import (
    area_under_risk_coverage,
    excess_area_under_risk_coverage,
    group_by_uncertainty,
    risk_coverage_curve,
)
from mmjoint.functional.uncertainty_scale import UNCERTAINTY_PREFERENCE
from mmjoint.utils.case_archive import CaseArchive

from .report_statistics import is_wrong, mean_dice

FAILURE_DICE = 0.8

AGGREGATION_WORDS = {
    'mean': 'mean of the image',
    'mean_foreground': 'mean of the foreground',
    'patch_max': 'highest patch',
    'mean_off_boundary': 'mean away from borders',
    'per_predicted_volume': 'sum per segmented pixel',
}

# What cases are ranked by first, where the records have it.
_FIRST_AGGREGATION = 'mean_foreground'


@dataclass
class CaseOrder:
    """The cases with one score of uncertainty each.

    Attributes:
        kind: Of what the score is: the ``mask`` or the image ``class``.
        measure: Of the uncertainty.
        aggregation: How the map became one score; empty for the class.
        members: Indices of the cases that have the measure, int ``(M,)``.
        scores: ``(M,)``; NaN where the aggregation is not defined (nothing was segmented): more
            uncertain than all others.
        risk: ``(M,)``: 1 - mean Dice, or 1 for a wrong class; NaN without a reference.
        failed: ``(M,)``: 1 where the mean Dice is below the threshold, or the class is wrong; else
            0; NaN without a reference.
    """

    kind: Literal['mask', 'class']
    measure: str
    aggregation: str
    members: np.ndarray
    scores: np.ndarray
    risk: np.ndarray
    failed: np.ndarray

    @property
    def name(self) -> str:
        """Words for the measure and the aggregation."""
        words = self.measure.replace('_', ' ')
        return f'{words}, {AGGREGATION_WORDS[self.aggregation]}' if self.aggregation else words

    @property
    def comparable(self) -> np.ndarray:
        """The scores with infinity where one is not defined."""
        return np.where(np.isnan(self.scores), np.inf, self.scores)

    def ranking(self) -> np.ndarray:
        """Give places in ``members``, the most uncertain first; of equals the earlier case."""
        return np.argsort(-self.comparable, kind='stable')


@dataclass
class Referral:
    """What follows from sending the most uncertain cases to a human.

    Attributes:
        sent: Places in the order's ``members``, the most uncertain first.
        risk_all: Mean risk of all cases with a reference; NaN without.
        risk_kept: Mean risk of those that the model keeps; NaN without.
        num_failed: Number of failed cases.
        num_caught: Number of failed cases among those that are sent.
    """

    sent: np.ndarray
    risk_all: float
    risk_kept: float
    num_failed: int
    num_caught: int


@dataclass
class CaseRisk:
    """How well an order sorts the cases with a reference by their risk.

    Attributes:
        coverage: Share of cases kept at the corners of the risk-coverage curve, ``(G,)``.
        risk: Their mean risk, ``(G,)``.
        best_coverage: The same of the best order, in which the risk rises.
        best_risk: See ``best_coverage``.
        random: Expected risk of a random order, at every coverage.
        area: Area under the curve (AURC).
        excess: What it is above the best order's (E-AURC).
        failure_auroc: Of telling failed cases from others; NaN where all or none failed.
    """

    coverage: np.ndarray
    risk: np.ndarray
    best_coverage: np.ndarray
    best_risk: np.ndarray
    random: float
    area: float
    excess: float
    failure_auroc: float


def case_orders(archive: CaseArchive, failure_dice: float = FAILURE_DICE) -> list[CaseOrder]:
    """Give every order that the records allow, the preferred one of each kind first.

    Args:
        archive: The case records, with any aggregations.
        failure_dice: A case with a smaller mean Dice has failed.

    Returns:
        The orders by uncertainty of the mask, then those by uncertainty of the class.
    """
    dice = np.array([mean_dice(case) for case in archive.cases], float)
    wrong = np.array(
        [np.nan if is_wrong(case) is None else is_wrong(case) for case in archive.cases], float
    )
    poor = np.where(np.isnan(dice), np.nan, dice < failure_dice)
    maps = [case['seg_uncertainty'] or {} for case in archive.cases]
    values = [case['cls_uncertainty'] or {} for case in archive.cases]
    orders = []
    for measure in _preferred({name for each in maps for name in each}):
        names = {name for each in maps for name in each.get(measure, {})} & set(AGGREGATIONS)
        for aggregation in sorted(names, key=_aggregation_place):
            found = [
                (index, each[measure].get(aggregation))
                for index, each in enumerate(maps)
                if measure in each
            ]
            orders.append(_order('mask', measure, aggregation, found, 1 - dice, poor))
    for measure in _preferred({name for each in values for name in each}):
        found = [(index, each[measure]) for index, each in enumerate(values) if measure in each]
        orders.append(_order('class', measure, '', found, wrong, wrong))
    return orders


def refer(order: CaseOrder, percent: int) -> Referral:
    """Send the most uncertain cases to a human.

    Args:
        order: The cases.
        percent: Coverage: of so many of 100 cases the model keeps at most so many, 0 to 100.
    """
    kept = percent * len(order.members) // 100
    ranking = order.ranking()
    sent, rest = ranking[: len(ranking) - kept], ranking[len(ranking) - kept :]
    return Referral(
        sent=sent,
        risk_all=_mean_known(order.risk),
        risk_kept=_mean_known(order.risk[rest]),
        num_failed=int(np.nansum(order.failed)),
        num_caught=int(np.nansum(order.failed[sent])),
    )


def case_risk(order: CaseOrder) -> CaseRisk | None:
    """Compare an order with the best one; ``None`` without any case that has a reference."""
    known = ~np.isnan(order.risk)
    if not known.any():
        return None
    scores, risk = order.comparable[known], order.risk[known]
    groups, best = group_by_uncertainty(scores, risk), group_by_uncertainty(risk, risk)
    # Ranks, because a ROC curve takes finite scores only.
    ranks = np.unique(scores, return_inverse=True)[1]
    return CaseRisk(
        *risk_coverage_curve(*groups),
        *risk_coverage_curve(*best),
        random=float(risk.mean()),
        area=area_under_risk_coverage(*groups),
        excess=excess_area_under_risk_coverage(*groups, *best),
        failure_auroc=auroc(ranks, order.failed[known] == 1),
    )


def _order(
    kind: Literal['mask', 'class'],
    measure: str,
    aggregation: str,
    found: list[tuple[int, float | None]],
    risk: np.ndarray,
    failed: np.ndarray,
) -> CaseOrder:
    members = np.array([index for index, _ in found], int)
    values = [np.nan if score is None else score for _, score in found]
    # The page carries six digits; the order must not depend on what it leaves out.
    values = np.array([float(f'{value:.6g}') for value in values])
    return CaseOrder(kind, measure, aggregation, members, values, risk[members], failed[members])


def _preferred(measures: set[str]) -> list[str]:
    known = [name for name in UNCERTAINTY_PREFERENCE if name in measures]
    return known + sorted(measures - set(known))


def _aggregation_place(name: str) -> tuple[bool, int]:
    return name != _FIRST_AGGREGATION, AGGREGATIONS.index(name)


def _mean_known(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float('nan')
