import pytest
import torch
from mmengine.model import BaseModel

from mmjoint.models.data_preprocessors import MultiBranchDataPreprocessor
from mmjoint.registry import MODELS
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError

CFG = dict(
    type='MultiBranchDataPreprocessor',
    data_preprocessor=dict(type='VolumeDataPreprocessor', mean=[1.0], std=[2.0]),
)


def batch():
    samples = [JointDataSample(metainfo=dict(img_path=f'v{i}')) for i in range(3)]
    images = [torch.full((1, 2, 2, 2), float(i)) for i in range(3)]
    return dict(
        inputs=dict(labelled=[images[0], None, images[2]], unlabelled=[None, images[1], None]),
        data_samples=dict(
            labelled=[samples[0], None, samples[2]], unlabelled=[None, samples[1], None]
        ),
    )


def test_branches_are_sorted_and_preprocessed():
    out = MODELS.build(CFG)(batch(), True)
    assert list(out) == ['inputs', 'data_samples']
    assert {k: v.shape for k, v in out['inputs'].items()} == dict(
        labelled=(2, 1, 2, 2, 2), unlabelled=(1, 1, 2, 2, 2)
    )
    assert out['inputs']['labelled'][:, 0, 0, 0, 0].tolist() == [-0.5, 0.5]
    names = {k: [s.img_path for s in v] for k, v in out['data_samples'].items()}
    assert names == dict(labelled=['v0', 'v2'], unlabelled=['v1'])


def test_batches_without_branches_and_without_samples():
    out = MODELS.build(CFG)(dict(inputs=[torch.ones(1, 2, 2, 2)], data_samples=None))
    assert out['inputs'].shape == (1, 1, 2, 2, 2)
    data = dict(inputs=batch()['inputs'])
    assert MODELS.build(CFG)(data, True)['data_samples'] == dict(labelled=None, unlabelled=None)


def test_a_branch_without_samples_is_left_out():
    data = batch()
    data['inputs']['unlabelled'] = [None] * 3
    out = MODELS.build(CFG)(data, True)
    assert list(out['inputs']) == list(out['data_samples']) == ['labelled']
    data['inputs']['labelled'] = [None] * 3
    with pytest.raises(UserError, match=r"branches \['labelled', 'unlabelled'\] in every batch"):
        MODELS.build(CFG)(data, True)


def test_the_device_of_a_model_reaches_the_inner_one():
    class Model(BaseModel):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            return inputs

    model = Model(data_preprocessor=MODELS.build(CFG)).to('meta')
    assert model.data_preprocessor.device.type == 'meta'
    assert model.data_preprocessor.data_preprocessor.device.type == 'meta'
    out = MultiBranchDataPreprocessor(dict(type='VolumeDataPreprocessor')).to('meta')
    assert out.data_preprocessor.device.type in ('meta', 'cpu')
