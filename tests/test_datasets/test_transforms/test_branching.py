import numpy as np
import pytest
from mmengine.dataset import pseudo_collate

from mmjoint.datasets.transforms import MultiBranch, PackJointInputs

PACK = [dict(type='PackJointInputs')]
BRANCHES = ('labelled', 'unlabelled')


class Add:
    def __init__(self, value):
        self.value = value

    def __call__(self, results):
        results['img'] += self.value
        return results


def sample(value=1):
    return dict(img=np.full((2, 3, 4, 1), value, np.float32), img_path='a')


def test_batches_of_two_sources():
    one = MultiBranch(BRANCHES, dict(labelled=PACK))
    other = MultiBranch(BRANCHES, dict(unlabelled=PACK))
    batch = pseudo_collate([one(sample(1)), one(sample(2)), other(sample(3))])
    assert list(batch['inputs']) == list(batch['data_samples']) == list(BRANCHES)
    assert [None if x is None else float(x.mean()) for x in batch['inputs']['labelled']] == [
        1,
        2,
        None,
    ]
    assert batch['inputs']['unlabelled'][:2] == [None, None]
    assert batch['data_samples']['unlabelled'][2].img_path == 'a'


def test_views_of_one_sample_do_not_touch_each_other():
    branches = ('weak', 'strong', 'other')
    views = MultiBranch(
        branches, dict(strong=[Add(10), PackJointInputs()], weak=[Add(1), PackJointInputs()])
    )
    packed = views(sample(1))
    assert float(packed['inputs']['weak'].mean()) == 2
    assert float(packed['inputs']['strong'].mean()) == 11
    assert packed['inputs']['other'] is None and packed['data_samples']['other'] is None
    assert views.branches == branches


def test_a_pipeline_may_refuse_the_sample():
    assert MultiBranch(BRANCHES, dict(labelled=[lambda results: None]))(sample()) is None


@pytest.mark.parametrize('pipelines', [dict(unlabeled=PACK), {}])
def test_misspelt_branches(pipelines):
    with pytest.raises(ValueError, match='keys out of branches'):
        MultiBranch(BRANCHES, pipelines)
