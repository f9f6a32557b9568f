"""The three sets of chest X-rays, from phantoms in the raw layout to samples."""

import cv2
import numpy as np
import pytest

from mmjoint.datasets import ChestXrayPneumoniaDataset, JSRTDataset, MontgomeryDataset
from mmjoint.utils.errors import UserError

from ..test_prepare_dataset.scripts import (
    chest_xray_pneumonia,
    jsrt,
    make_phantoms,
    montgomery,
    nih_pneumonia,
)

SETS = {
    'chest_xray_pneumonia': (chest_xray_pneumonia, dict(num_cases=40), dict(labelled=(6,))),
    'jsrt': (jsrt, dict(num_cases=16), dict(labelled=(3,))),
    'montgomery': (montgomery, dict(num_cases=8), {}),
    'nih_pneumonia': (nih_pneumonia, dict(num_cases=12), {}),
}
PIPELINE = [dict(type='LoadJointImage'), dict(type='LoadJointAnnotations')]
PIPELINE += [dict(type='PackJointInputs')]


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    roots = {}
    for name, (script, phantoms, options) in SETS.items():
        root = tmp_path_factory.mktemp(name)
        make_phantoms.make_phantoms(name, root / 'raw', seed=1, size=40, **phantoms)
        script.prepare(root / 'raw', root / 'out', size=32, **options)
        roots[name] = str(root / 'out')
    return roots


def samples(dataset):
    return [item['data_samples'] for item in dataset]


@pytest.mark.parametrize('kind', ['chest_xray_pneumonia', 'nih_pneumonia'])
def test_images_with_a_class(kind, prepared):
    dataset = ChestXrayPneumoniaDataset(prepared[kind], split='test', pipeline=PIPELINE)
    assert dataset.metainfo['cls_classes'] == ('normal', 'pneumonia')
    assert dataset.metainfo['classes'] == ()
    for item in dataset:
        grey = item['inputs']
        assert grey.shape == (3, 32, 32) and (grey == grey[:1]).all()
        assert 'gt_sem_seg' not in item['data_samples']
    labels = [sample.gt_label.item() for sample in samples(dataset)]
    assert set(labels) == {0, 1}
    folders = [sample.img_path.split('/')[-2] for sample in samples(dataset)]
    assert labels == [['normal', 'pneumonia'].index(folder) for folder in folders]


@pytest.mark.parametrize(
    ('kind', 'name'), [(JSRTDataset, 'jsrt'), (MontgomeryDataset, 'montgomery')]
)
def test_images_with_lungs(kind, name, prepared):
    dataset = kind(prepared[name], split='test', pipeline=PIPELINE)
    assert dataset.metainfo['classes'] == ('background', 'lung')
    assert dataset.metainfo['cls_classes'] == ()
    for sample in samples(dataset):
        assert 'gt_label' not in sample
        assert sample.gt_sem_seg.data.unique().tolist() == [0, 1]
        assert sample.domain == name and sample.ori_shape == (32, 32)
        path = sample.img_path.replace('/images/', '/masks/')
        mask = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        assert np.array_equal(sample.gt_sem_seg.data[0].numpy(), mask)


@pytest.mark.parametrize(
    ('kind', 'name', 'number', 'field'),
    [
        (ChestXrayPneumoniaDataset, 'chest_xray_pneumonia', 6, 'gt_label'),
        (JSRTDataset, 'jsrt', 3, 'gt_sem_seg'),
    ],
)
def test_few_labels(kind, name, number, field, prepared):
    parts = {
        split: samples(kind(prepared[name], split=split, labelled=labelled, pipeline=PIPELINE))
        for split, labelled in (
            (f'labelled_{number}', True),
            (f'unlabelled_{number}', False),
            ('train', True),
        )
    }
    labelled, unlabelled, train = parts.values()
    assert len(labelled) == number and len(unlabelled) == len(train) - number
    assert all(field in sample for sample in labelled)
    assert not any('gt_label' in sample or 'gt_sem_seg' in sample for sample in unlabelled)
    patients = [{sample.patient_id for sample in part} for part in (labelled, unlabelled)]
    assert not patients[0] & patients[1]
    assert patients[0] | patients[1] == {sample.patient_id for sample in train}


@pytest.mark.parametrize('kind', [ChestXrayPneumoniaDataset, JSRTDataset, MontgomeryDataset])
def test_missing_set_names_the_command(kind, tmp_path):
    with pytest.raises(UserError, match=r'python prepare_dataset/\w+\.py RAW data/\w+`'):
        kind(str(tmp_path), split='train')


def test_sets_do_not_pass_for_one_another(prepared):
    with pytest.raises(UserError, match=r'expected a gt_label in \[0, 0\), found'):
        JSRTDataset(prepared['chest_xray_pneumonia'], split='train')
