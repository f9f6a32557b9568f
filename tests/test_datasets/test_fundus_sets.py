"""The data set on phantoms, as the scripts of `prepare_dataset/` write them."""

import numpy as np
import pytest
import torch

from mmjoint.datasets import FundusTasksDataset
from mmjoint.utils.index_png import read_index_png

from ..test_prepare_dataset import scripts

PIPELINE = [dict(type='LoadJointImage'), dict(type='LoadTaskMaps'), dict(type='PackJointInputs')]
SETS = dict(
    reta=('train', 'vessel'),
    ddr=('test', 'lesion'),
    refuge_tasks=('val', 'odoc'),
    idrid=('test', 'lesion'),
    drive=('test', 'vessel'),
    stare=('test', 'vessel'),
    aria=('test', 'vessel'),
)


@pytest.mark.parametrize('name', SETS)
def test_prepared_phantoms_are_read(name, tmp_path, capsys):
    split, task = SETS[name]
    raw, root = tmp_path / 'raw', tmp_path / 'prepared'
    scripts.make_phantoms.make_phantoms(name, raw, num_cases=3, seed=1, size=48)
    getattr(scripts, name).main([str(raw), str(root), '--truth'])
    capsys.readouterr()
    tasks = FundusTasksDataset.METAINFO['tasks']
    assert {
        key: {channel: list(values) for channel, values in channels.items()}
        for key, channels in tasks.items()
    } == scripts.fundus_maps.TASKS

    plain = FundusTasksDataset(str(root), split=split, pipeline=PIPELINE)
    known = FundusTasksDataset(str(root), split=f'{split}_truth', pipeline=PIPELINE)
    cut = FundusTasksDataset(
        str(root), split=f'{split}_truth', annotated_tasks=(task,), pipeline=PIPELINE
    )
    for index in range(len(plain)):
        item, sample = plain[index], plain[index]['data_samples']
        side = sample.ori_shape[0]
        assert item['inputs'].shape == (3, side, side)
        assert sample.domain == name.split('_')[0]
        assert list(sample.gt_tasks.keys()) == [task]
        assert set(known[index]['data_samples'].gt_tasks.keys()) == set(tasks)
        own = cut[index]['data_samples'].gt_tasks
        assert set(own.keys()) == {task} and own.get(task).shape == (1, side, side)
        inside = torch.from_numpy(read_index_png(sample.fov_path) == 1)
        assert 0.4 < inside.double().mean() <= 1
    if name == 'idrid':
        # The disc alone, beside the lesions: what a test of the disc compares with.
        disc = FundusTasksDataset(
            str(root), split=split, extra_maps=dict(odoc='od'), pipeline=PIPELINE
        )[0]['data_samples'].gt_tasks
        assert set(disc.keys()) == {'lesion', 'odoc'}
        assert np.isin(disc.odoc.numpy(), (0, 1)).all() and disc.odoc.any()
