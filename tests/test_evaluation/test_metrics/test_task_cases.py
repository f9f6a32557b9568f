"""Records of cases that have several tasks."""

import math

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from mmjoint.evaluation.metrics.task_case_parts import region_names, shrink_labels
from mmjoint.functional.uncertainty_scale import leading_score
from mmjoint.structures import JointDataSample

from .test_case_records import decode, run

TASKS = dict(vessel=dict(vessel=(1,)), odoc=dict(disc=(1, 2), cup=(2,)))
META = dict(classes=(), cls_classes=(), palette=[], tasks=TASKS)


def make(annotated=('vessel', 'odoc'), predicted=True, size=(2, 4)):
    sample = JointDataSample(metainfo=dict(img_path='a.png', ori_shape=size, domain='one'))
    vessel = torch.tensor([[1, 1, 0, 255], [0, 0, 0, 0]])
    odoc = torch.tensor([[0, 1, 1, 0], [0, 1, 2, 0]])
    maps = dict(vessel=vessel[None], odoc=odoc[None])
    if annotated:
        sample.gt_tasks = PixelData(**{task: maps[task] for task in annotated})
    if predicted:
        found = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 0]])
        disc = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 0]])
        cup = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 0]])
        sample.pred_tasks = PixelData(
            vessel=0.1 + 0.8 * found[None], odoc=0.1 + 0.8 * torch.stack([disc, cup])
        )
        sample.seg_uncertainty = PixelData(
            predictive_entropy_vessel=torch.full((1, *size), 0.2),
            predictive_entropy_odoc=torch.full((1, *size), 0.4),
            variance_odoc=torch.full((1, *size), 0.5),
        )
    return sample


def test_a_case_worked_out_by_hand(tmp_path):
    archive = run(tmp_path, [make()], [torch.zeros(3, 2, 4)], meta=META)
    (case,) = archive.cases
    # Vessel: of two found (one of 255 counts nowhere) and two true pixels one in common.
    expected = dict(vessel=2 / 4, disc=2 * 4 / 9, cup=1.0)
    assert case['dice'] == pytest.approx(expected)
    assert case['iou'] == pytest.approx(dict(vessel=1 / 3, disc=4 / 5, cup=1.0))
    assert case['assd']['cup'] == 0 < case['assd']['vessel']
    # Wrong: two pixels of vessel's seven, one of odoc's eight.
    assert (case['num_pixels'], case['num_wrong_pixels']) == (15, 3)
    scores = case['seg_uncertainty']
    assert scores['predictive_entropy_odoc']['mean_foreground'] == pytest.approx(0.4)
    assert case['has_foreground'] and case['domain'] == 'one'
    right, wrong = archive.tables['uncertainty/predictive_entropy_vessel'][0]
    place = int(0.2 / math.log(2) * 50)
    assert (right[place], right.sum(), wrong[place], wrong.sum()) == (5, 5, 2, 2)
    assert archive.info['uncertainty_bounds']['variance_odoc'] == 0.25
    assert archive.info['tasks'] == {
        task: {name: list(values) for name, values in c.items()} for task, c in TASKS.items()
    }
    pictures = archive.pictures[0]
    assert set(pictures) == {
        'image', 'gt/vessel', 'gt/odoc', 'pred/vessel', 'pred/odoc',
        'uncertainty/vessel', 'uncertainty/odoc',
    }  # fmt: skip
    assert decode(pictures['gt/vessel']).tolist() == [[1, 1, 0, 255], [0, 0, 0, 0]]
    assert decode(pictures['pred/odoc']).tolist() == [[0, 1, 1, 0], [1, 1, 2, 0]]
    assert (decode(pictures['uncertainty/odoc']) == round(0.4 / math.log(2) * 255)).all()


def test_what_is_not_there(tmp_path):
    one = run(tmp_path / 'one', [make(annotated=('odoc',))], meta=META)
    assert set(one.cases[0]['dice']) == {'disc', 'cup'}
    assert 'uncertainty/predictive_entropy_vessel' not in one.tables
    assert set(one.pictures[0]) >= {'pred/vessel', 'gt/odoc'}
    none = run(tmp_path / 'none', [make(annotated=())], meta=META)
    assert none.cases[0]['dice'] is None and none.cases[0]['num_pixels'] is None
    truth = run(tmp_path / 'truth', [make(predicted=False)], meta=META)
    assert truth.cases[0]['dice'] is None and set(truth.pictures[0]) == {'gt/vessel', 'gt/odoc'}


def test_names_that_two_tasks_share_are_told_apart():
    names = region_names(dict(a=dict(rim=(1,), cup=(2,)), b=dict(rim=(1,))))
    assert names == {('a', 'rim'): 'a rim', ('a', 'cup'): 'cup', ('b', 'rim'): 'b rim'}


def test_thin_structures_stay_in_a_thumbnail():
    labels = np.zeros((60, 60), np.uint8)
    labels[:, 31:33] = 1  # two of five columns
    labels[10:15, 31:33] = 2
    small = shrink_labels(labels, (12, 12))
    expected = np.zeros((12, 12), np.uint8)
    expected[:, 6] = 1
    expected[2, 6] = 2
    assert np.array_equal(small, expected)


def test_the_most_uncertain_task_ranks_a_case():
    def means(foreground, everywhere):
        return dict(mean=everywhere, mean_foreground=foreground)

    scores = dict(variance_a=means(9.0, 9.0), predictive_entropy_a=means(0.2, 0.1))
    assert leading_score(scores) == ('predictive_entropy_a', 0.2)
    # Nothing is found of this one, so the whole image counts.
    scores['predictive_entropy_b'] = means(None, 0.3)
    assert leading_score(scores) == ('predictive_entropy_b', 0.3)
    scores['predictive_entropy_b'] = means(None, None)
    assert leading_score(scores) == ('predictive_entropy_a', 0.2)
    scores['vacuity'] = means(0.0, 0.5)
    assert leading_score(scores) == ('vacuity', 0.0)
    assert leading_score({}) is None
