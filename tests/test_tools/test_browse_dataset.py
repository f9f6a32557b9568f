import json

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from mmjoint.utils.errors import UserError
from mmjoint.visualization.drawing import decode_image
from tools.analysis_tools.browse_dataset import main

from ..test_datasets.volume_set import VolumeSet
from . import tiny


@pytest.fixture
def config(tmp_path):
    """Give a config with a training split of 5 images, each of its own colour."""
    root = tmp_path / 'data'
    records = []
    for number in range(5):
        image = np.full((16, 16, 3), 40 * number, np.uint8)
        mask = np.zeros((16, 16), np.uint8)
        mask[4:12, 4:12] = 2
        names = dict(img_path=f'images/p{number}.png', seg_map_path=f'masks/p{number}.png')
        for name, array in zip(names.values(), (image, mask), strict=True):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / name), array)
        records.append(dict(**names, gt_label=number % 2, patient_id=f'p{number}'))
    (root / 'annotations').mkdir()
    (root / 'annotations' / 'train.json').write_text(json.dumps(records))
    path = tmp_path / 'tiny.py'
    path.write_text(tiny.CONFIG.replace("'nowhere'", repr(str(root))))
    yield str(path)
    DefaultScope._instance_dict.clear()


def test_pictures_are_spread_over_the_split(config, tmp_path, capsys):
    out = tmp_path / 'out'
    main([config, '--num', '3', '--out-dir', str(out), '--columns', '3'])
    assert sorted(path.name for path in out.iterdir()) == [
        '00000_p0.png',
        '00002_p2.png',
        '00004_p4.png',
        'contact_sheet.png',
    ]
    drawn = decode_image((out / '00002_p2.png').read_bytes())
    assert drawn.shape == (320 + 54 + 34, 14 + 2 * 334, 3)
    assert drawn[54 + 5, 14 + 5].tolist() == [80, 80, 80]
    sheet = decode_image((out / 'contact_sheet.png').read_bytes())
    assert sheet.shape == (408 + 12, 3 * (682 + 6) + 6, 3)
    assert np.array_equal(sheet[6:414, 6 + 688 : 6 + 688 + 682], drawn)
    assert f'3 pictures and contact_sheet.png are in {out}' in capsys.readouterr().out


def test_no_more_pictures_than_samples(config, tmp_path):
    main([config, '--num', '99', '--out-dir', str(tmp_path / 'out')])
    assert len(list((tmp_path / 'out').iterdir())) == 6


def test_branches_of_labelled_and_unlabelled_volumes(tmp_path):
    VolumeSet(tmp_path / 'la')
    source = """dict(
        type='LADataset', data_root={root!r}, split={branch!r}, labelled={labelled},
        pipeline=[
            dict(type='LoadVolume'), dict(type='LoadVolumeAnnotations'),
            dict(type='RandomBrightnessPatch', factor=(1.3, 1.3)),
            dict(type='MultiBranch', branches=('labelled', 'unlabelled'),
                 pipelines=dict({branch}=[dict(type='PackJointInputs')])),
        ])"""
    parts = [
        source.format(root=str(tmp_path / 'la'), branch=branch, labelled=branch == 'labelled')
        for branch in ('labelled', 'unlabelled')
    ]
    config = tmp_path / 'volumes.py'
    config.write_text(
        "default_scope = 'mmjoint'\ntrain_dataloader = dict(dataset=dict("
        f"type='MultiSourceDataset', datasets=[{', '.join(parts)}]))\n"
    )
    main([str(config), '--out-dir', str(tmp_path / 'out')])
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert {name.split('_')[-1] for name in names} == {
        'labelled.png',
        'unlabelled.png',
        'sheet.png',
    }
    unlabelled = decode_image((tmp_path / 'out' / names[-2]).read_bytes())
    labelled = decode_image((tmp_path / 'out' / names[0]).read_bytes())
    assert labelled.shape[1] > unlabelled.shape[1]  # it has a panel for the mask
    assert unlabelled.max() == 255  # values up to 1.3 are stretched


def test_mistakes(config, tmp_path, capsys):
    with pytest.raises(UserError, match='has no val_dataloader with a dataset'):
        main([config, '--split', 'val'])
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='file: expected a folder for --out-dir, found a file'):
        main([config, '--out-dir', str(tmp_path / 'file')])
    missing = ['--cfg-options', 'train_dataloader.dataset.data_root=nowhere']
    with pytest.raises(UserError, match='annotations/train.json.*prepare_dataset/refuge.py'):
        main([config, *missing])
    with pytest.raises(SystemExit, match='2'):
        main([config, '--num', '0'])
    assert '--num: expected a number >= 1, found 0' in capsys.readouterr().err
