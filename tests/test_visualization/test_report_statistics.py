import math

import numpy as np
import pytest

from mmjoint.visualization import report_statistics as statistics
from mmjoint.visualization.report_statistics import (
    case_errors,
    class_estimates,
    class_task,
    estimate,
    mask_uncertainty,
    mean_dice,
    patients,
    per_class_estimates,
    pixel_calibration,
    region_estimates,
    review_priority,
)

from .records import INFO, CaseArchive, class_fields, make_archive, make_case, mask_fields


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, 'NUM_RESAMPLES', 60)


def by_name(entries):
    return {entry.name: entry for entry in entries}


def small_task():
    """Two of three healthy and one of two ill cases are found."""
    rows = [(0, [5, 1]), (0, [3, 1]), (0, [1, 2]), (1, [1, 4]), (1, [3, 2])]
    cases = [make_case(i, **class_fields(label, alpha)) for i, (label, alpha) in enumerate(rows)]
    return class_task(CaseArchive(INFO, cases))


def test_class_estimates_by_hand():
    found = by_name(class_estimates(small_task()))
    assert found['accuracy'].value == 3 / 5
    assert found['sensitivity'].value == 1 / 2
    assert found['specificity'].value == 2 / 3
    # F1 of healthy 2*2/(3+3), of ill 2*1/(2+2), weighted 3:2
    assert found['F1, weighted by class'].value == pytest.approx((3 * 2 / 3 + 2 * 0.5) / 5)
    # Of alpha_1 / S: ill 0.8, 0.4; healthy 1/6, 1/4, 2/3: 5 of 6 pairs in order.
    assert found['AUC'].value == pytest.approx(5 / 6)
    # Of alpha_1 - alpha_0: ill 3, -1; healthy -4, -2, 1: the same order here.
    assert found['AUC of softmax(alpha)'].value == pytest.approx(5 / 6)
    chance = (3 / 5) * (3 / 5) + (2 / 5) * (2 / 5)
    assert found["Cohen's kappa"].value == pytest.approx((0.6 - chance) / (1 - chance))
    assert found['AUC'].key == 'cls/AUC'
    for entry in found.values():
        assert entry.low <= entry.value <= entry.high


def test_the_two_scores_may_differ():
    rows = [(0, [30, 20]), (1, [1, 1.1]), (1, [9, 9])]
    cases = [make_case(i, **class_fields(label, alpha)) for i, (label, alpha) in enumerate(rows)]
    task = class_task(CaseArchive(INFO, cases))
    expected = 1 / (1 + np.exp(-np.array([-10, 0.1, 0])))
    assert task.softmax_scores[:, 1] == pytest.approx(expected)


def test_per_class_estimates():
    found = per_class_estimates(small_task())
    assert list(found) == ['healthy', 'ill <b>']
    assert by_name(found['healthy'])['sensitivity'].value == 2 / 3
    assert by_name(found['ill <b>'])['specificity'].value == 2 / 3
    assert by_name(found['healthy'])['AUC'].value == pytest.approx(5 / 6)


def test_one_class_only_has_no_auc():
    cases = [make_case(i, **class_fields(0, [3, 1 + i])) for i in range(4)]
    found = by_name(class_estimates(class_task(CaseArchive(INFO, cases))))
    assert math.isnan(found['AUC'].value) and math.isnan(found['AUC'].low)
    assert math.isnan(found['sensitivity'].value)
    assert found['accuracy'].value == 3 / 4  # equal alphas go to the first class


def test_cases_without_label_or_score_are_left_out():
    cases = [
        make_case(0, **class_fields(0, [3, 1])),
        make_case(1, **class_fields(None, [3, 1])),
        make_case(2, gt_label=1),
        make_case(3, gt_label=1, pred_label=0, pred_score=[None, None]),
    ]
    assert len(class_task(CaseArchive(INFO, cases)).labels) == 1
    assert class_task(CaseArchive(INFO, cases[1:])) is None


def test_region_estimates_follow_the_conventions_for_empty_masks():
    archive = make_archive(4)
    archive.cases[1]['dice']['cup'] = None
    archive.cases[1]['assd']['cup'] = None
    found = by_name(region_estimates(archive)['cup'])
    dice = [archive.cases[i]['dice']['cup'] or 0.0 for i in range(4)]
    assert found['Dice'].value == pytest.approx(np.mean(dice))
    assert found['ASSD'].value == pytest.approx((3 * 3.0 + 10.0) / 4)
    archive.info = INFO | {'empty_dice': None, 'empty_distance': None}
    found = by_name(region_estimates(archive)['cup'])
    assert found['Dice'].value == pytest.approx(np.mean([dice[0], dice[2], dice[3]]))
    assert found['ASSD'].value == 3.0


def test_iou_from_the_confusion_matrices():
    archive = make_archive(1)
    archive.tables['confusion'] = np.array([[[3, 1, 0], [0, 2, 1], [0, 0, 1]]])
    found = region_estimates(archive)
    assert list(found) == ['rim', 'cup', 'disc']
    assert by_name(found['rim'])['IoU'].value == 2 / 4
    assert by_name(found['cup'])['IoU'].value == 1 / 2
    assert by_name(found['disc'])['IoU'].value == 4 / 5


def test_pixel_calibration_adds_cases_up():
    archive = make_archive(3)
    bins, ece = pixel_calibration(archive)
    total = archive.tables['calibration'].sum(0)
    assert np.array_equal(bins, total)
    assert ece.value == pytest.approx(np.abs(total[2] - total[1]).sum() / total[0].sum())
    assert pixel_calibration(make_archive(3, with_mask=False)) is None


def test_patients_are_drawn_as_a_whole():
    assert patients([make_case(0), make_case(1)]) is None
    cases = [make_case(0, patient_id='a'), make_case(1, patient_id='a'), make_case(2)]
    assert patients(cases).tolist() == ['patient a', 'patient a', 'patient p02']
    # Four slices of each of two patients: with whole patients the mean is 0, 0.5 or 1.
    values, groups = np.repeat([0.0, 1.0], 4), np.repeat(['a', 'b'], 4)
    entry = estimate('mean', np.mean, values, groups=groups)
    assert (entry.low, entry.value, entry.high) == (0.0, 0.5, 1.0)
    alone = estimate('mean', np.mean, values)
    assert 0 < alone.low < 0.5 < alone.high < 1


def test_intervals_are_reproducible():
    task = small_task()
    first, again, other = (class_estimates(task, seed)[0] for seed in (0, 0, 5))
    assert (first.low, first.high) == (again.low, again.high)
    assert first.value == other.value


def test_review_priority_is_the_larger_rank():
    cases = [
        make_case(0, **class_fields(0, [9, 1]), **mask_fields(1.0, 0.9)),  # mask uncertain
        make_case(1, **class_fields(0, [1, 1]), **mask_fields(1.0, 0.1)),  # class uncertain
        make_case(2, **class_fields(0, [5, 1]), **mask_fields(1.0, 0.5)),
        make_case(3),
    ]
    assert review_priority(CaseArchive(INFO, cases)).tolist() == [2 / 3, 2 / 3, 1 / 3, 0]
    assert review_priority(CaseArchive(INFO, [])).tolist() == []


def test_errors_of_cases():
    cases = [
        make_case(0, **class_fields(1, [9, 1]), **mask_fields(0.75, 0.9)),
        make_case(1, **class_fields(0, [9, 1]), **mask_fields(0.5, 0.9)),
        make_case(2),
    ]
    assert case_errors(CaseArchive(INFO, cases)).tolist() == [1.25, 0.5, 0]
    assert math.isnan(mean_dice(cases[2]))


def test_mask_uncertainty_without_foreground_is_that_of_the_image():
    case = make_case(seg_uncertainty={'vacuity': {'mean': 0.3, 'mean_foreground': None}})
    assert mask_uncertainty(case) == ('vacuity', 0.3)
    assert mask_uncertainty(make_case()) is None
