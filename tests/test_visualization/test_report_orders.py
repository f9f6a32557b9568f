import math

import numpy as np
import pytest
from scipy.stats import rankdata

from mmjoint.utils.case_archive import CaseArchive
from mmjoint.visualization.report_orders import case_orders, case_risk, refer

from .records import INFO, class_fields, make_archive, make_case

NAN = math.nan


def mask_case(index, dice, **scores):
    regions = None if dice is None else {'lesion': dice}
    return make_case(index, dice=regions, seg_uncertainty={'predictive_entropy': scores})


def five_cases():
    """The second is best and most certain; the fourth has no score, the fifth no reference."""
    rows = [(0.5, 0.4), (0.9, 0.1), (0.7, 0.2), (0.0, None), (None, 0.3)]
    return CaseArchive(INFO, [mask_case(i, dice, mean=u) for i, (dice, u) in enumerate(rows)])


def test_order_by_hand():
    (order,) = case_orders(five_cases())
    assert order.name == 'predictive entropy, mean of the image'
    assert order.members.tolist() == [0, 1, 2, 3, 4]
    assert order.ranking().tolist() == [3, 0, 4, 2, 1]
    assert order.risk == pytest.approx([0.5, 0.1, 0.3, 1.0, NAN], nan_ok=True)
    assert order.failed == pytest.approx([1, 0, 1, 1, NAN], nan_ok=True)


@pytest.mark.parametrize(
    'percent, sent, risk_kept, caught',
    [
        (100, [], (0.5 + 0.1 + 0.3 + 1.0) / 4, 0),
        (80, [3], (0.5 + 0.1 + 0.3) / 3, 1),
        (79, [3, 0], (0.1 + 0.3) / 2, 2),  # 3.95 cases: the model keeps 3
        (40, [3, 0, 4], (0.1 + 0.3) / 2, 2),
        (20, [3, 0, 4, 2], 0.1, 3),
        (0, [3, 0, 4, 2, 1], NAN, 3),
    ],
)
def test_referral_by_hand(percent, sent, risk_kept, caught):
    referral = refer(case_orders(five_cases())[0], percent)
    assert referral.sent.tolist() == sent
    assert referral.risk_kept == pytest.approx(risk_kept, nan_ok=True)
    assert referral.risk_all == pytest.approx(1.9 / 4)
    assert (referral.num_failed, referral.num_caught) == (3, caught)


def test_threshold_of_failure():
    (order,) = case_orders(five_cases(), failure_dice=0.6)
    assert refer(order, 100).num_failed == 2


def test_risk_by_hand():
    risk = case_risk(case_orders(five_cases())[0])
    # Kept in the order 0.1, 0.3, 0.5, 1.0, which is the best one.
    means = [0.1, 0.2, 0.3, 1.9 / 4]
    assert risk.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.risk == pytest.approx(means)
    assert risk.area == pytest.approx(np.mean(means)) and risk.excess == 0
    assert risk.best_risk == pytest.approx(means)
    assert risk.random == pytest.approx(1.9 / 4)
    assert risk.failure_auroc == 1


def test_risk_against_all_orders():
    rng = np.random.default_rng(0)
    cases = [mask_case(i, d, mean=u) for i, (d, u) in enumerate(rng.random((30, 2)).tolist())]
    risk = case_risk(case_orders(CaseArchive(INFO, cases))[0])
    scores = np.array([case['seg_uncertainty']['predictive_entropy']['mean'] for case in cases])
    losses = np.array([1 - case['dice']['lesion'] for case in cases])
    means = [losses[np.argsort(scores)[:k]].mean() for k in range(1, 31)]
    best = [np.sort(losses)[:k].mean() for k in range(1, 31)]
    assert risk.area == pytest.approx(np.mean(means))
    assert risk.excess == pytest.approx(np.mean(means) - np.mean(best))
    ranks, failed = rankdata(scores), losses > 0.2
    above = ranks[failed].sum() - failed.sum() * (failed.sum() + 1) / 2
    assert risk.failure_auroc == pytest.approx(above / (failed.sum() * (~failed).sum()))


def test_all_orders_the_preferred_first():
    scores = {'per_predicted_volume': 1.0, 'mean': 0.1, 'mean_foreground': 0.2, 'other': 9.0}
    case = make_case(0, **class_fields(0, [3, 1]), dice={'cup': 1.0})
    case['seg_uncertainty'] = {'variance': {'mean': 0.1}, 'predictive_entropy': scores}
    orders = case_orders(CaseArchive(INFO, [case, make_case(1)]))
    assert [(order.kind, order.measure, order.aggregation) for order in orders] == [
        ('mask', 'predictive_entropy', 'mean_foreground'),
        ('mask', 'predictive_entropy', 'mean'),
        ('mask', 'predictive_entropy', 'per_predicted_volume'),
        ('mask', 'variance', 'mean'),
        ('class', 'vacuity', ''),
    ]
    assert all(order.members.tolist() == [0] for order in orders)
    assert case_orders(CaseArchive(INFO, [make_case(0)])) == []


def test_order_by_the_class():
    rows = [(0, [9, 1]), (1, [3, 2]), (0, [1, 2]), (None, [1, 1])]
    cases = [make_case(i, **class_fields(label, alpha)) for i, (label, alpha) in enumerate(rows)]
    (order,) = case_orders(CaseArchive(INFO, cases))
    assert order.name == 'vacuity' and order.ranking().tolist() == [3, 2, 1, 0]
    assert order.failed == pytest.approx([0, 1, 1, NAN], nan_ok=True)
    referral = refer(order, 50)
    assert (referral.num_caught, referral.num_failed, referral.risk_kept) == (1, 2, 0.5)


def test_without_references_there_is_a_list_and_no_risk():
    archive = CaseArchive(INFO, [mask_case(i, None, mean=0.1 * i) for i in range(4)])
    (order,) = case_orders(archive)
    assert case_risk(order) is None
    referral = refer(order, 50)
    assert referral.sent.tolist() == [3, 2]
    assert math.isnan(referral.risk_all) and referral.num_failed == 0


def test_no_digit_that_the_page_leaves_out_decides():
    cases = [mask_case(i, 1.0, mean=u) for i, u in enumerate([0.12345678, 0.12345679])]
    (order,) = case_orders(CaseArchive(INFO, cases))
    assert order.scores[0] == order.scores[1] and order.ranking().tolist() == [0, 1]


def test_records_without_newer_scores():
    orders = case_orders(make_archive(6))
    assert [order.aggregation for order in orders] == ['mean_foreground', 'mean', '']
