import hashlib
import json
import shutil

import cv2
import numpy as np
import pytest

from mmjoint.phantoms.common import write_sheet
from mmjoint.utils.io import sha256_file

from .scripts import common, refuge


def records_of(out, split):
    return json.loads((out / 'annotations' / f'{split}.json').read_text())


@pytest.fixture(scope='module')
def prepared(phantom_refuge, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'refuge'
    refuge.prepare(phantom_refuge, out, size=48)
    return out


def rename_by_hand(raw, target):
    """The layout that the UML repository asks its users to make."""
    labels = {}
    for split, images, masks in (
        ('Train', 'Training400', 'Annotation-Training400'),
        ('Valid', 'REFUGE-Validation400', 'REFUGE-Validation400-GT'),
        ('Test', 'Test400', 'REFUGE-Test-GT'),
    ):
        folder = target / split
        for source, place in (
            (images, f'{split}400'),
            (f'{masks}/Disc_Cup_Masks', f'{split}400-GT/Disc_Cup_Masks'),
        ):
            (folder / place).mkdir(parents=True)
            for path in (raw / source).rglob('*.*'):
                shutil.copy(path, folder / place)
        info = json.loads((raw / 'phantom_info.json').read_text())
        labels[split] = [
            (case['id'] + '.jpg', case['glaucoma'])
            for case in info['cases']
            if case['split'] == {'Train': 'train', 'Valid': 'val', 'Test': 'test'}[split]
        ]
        write_sheet(
            folder / f'{split}400-GT' / 'Glaucoma_label_and_Fovea_location.xlsx',
            ('ImgName', 'Glaucoma Label'),
            labels[split],
        )
    return target


def test_records(prepared):
    assert records_of(prepared, 'train') == [
        {
            'img_path': f'images/train/{case}.jpg',
            'seg_map_path': f'masks/train/{case}.png',
            'gt_label': label,
            'patient_id': case,
            'spacing': None,
            'domain': 'zeiss',
            'ori_shape': [93, 96],
        }
        for case, label in (('g0001', 1), ('n0001', 0), ('n0002', 0))
    ]
    assert [record['ori_shape'] for record in records_of(prepared, 'test')] == [[74, 74]] * 3
    assert {record['domain'] for record in records_of(prepared, 'val')} == {'canon'}


def test_labels_are_those_of_the_phantoms(phantom_refuge, prepared):
    info = json.loads((phantom_refuge / 'phantom_info.json').read_text())
    expected = {case['id']: case['glaucoma'] for case in info['cases']}
    found = {
        record['patient_id']: record['gt_label']
        for split in common.SPLITS
        for record in records_of(prepared, split)
    }
    assert found == expected
    assert sum(found.values()) == 3


def test_images_and_masks_are_resized_and_recoded(phantom_refuge, prepared):
    for record in records_of(prepared, 'train'):
        raw_image = next(phantom_refuge.rglob(f'Training400/*/{record["patient_id"]}.jpg'))
        expected = cv2.resize(cv2.imread(str(raw_image)), (48, 48))
        image = cv2.imread(str(prepared / record['img_path']))
        assert image.shape == (48, 48, 3)
        # JPEG quality 95 halves the colour resolution: compare brightness.
        assert np.abs(image.mean(axis=2) - expected.mean(axis=2)).mean() < 4
        ids = cv2.imread(str(prepared / record['seg_map_path']), cv2.IMREAD_UNCHANGED)
        assert ids.shape == (48, 48) and ids.dtype == np.uint8
        raw_mask = cv2.imread(str(next(phantom_refuge.rglob(f'{record["patient_id"]}.bmp'))), 0)
        nearest = cv2.resize(raw_mask, (48, 48), interpolation=cv2.INTER_NEAREST_EXACT)
        assert (ids == refuge.mask_to_ids(nearest)).mean() > 0.97
        assert set(np.unique(ids)) == {0, 1, 2}


def test_mask_thresholds():
    grey = np.array([[0, 9, 10, 128, 245, 246, 255]], np.uint8)
    assert refuge.mask_to_ids(grey).tolist() == [[2, 2, 1, 1, 1, 0, 0]]


def test_bilinear_masks_have_more_rim_and_less_cup_than_nearest_ones():
    y, x = np.mgrid[:800, :800] - 399.5
    distance = np.hypot(x, y)
    mask = np.where(distance < 150, 0, np.where(distance < 300, 128, 255)).astype(np.uint8)
    areas = {
        mode: np.bincount(refuge.mask_to_ids(refuge.resize_mask(mask, 200, mode)).ravel())
        for mode in ('bilinear', 'nearest-exact')
    }
    disc, cup = np.pi * 75**2, np.pi * 37.5**2
    assert areas['nearest-exact'][1:] == pytest.approx([disc - cup, cup], rel=0.01)
    assert areas['bilinear'][1] > 1.005 * areas['nearest-exact'][1]
    assert areas['bilinear'][2] < 0.995 * areas['nearest-exact'][2]


def test_png_images_are_lossless_and_nearest_masks_exact(phantom_refuge, tmp_path):
    refuge.prepare(
        phantom_refuge, tmp_path / 'out', size=48, image_format='png', mask_resize='nearest-exact'
    )
    raw = cv2.imread(str(phantom_refuge / 'Test400' / 'T0001.jpg'))
    image = cv2.imread(str(tmp_path / 'out' / 'images' / 'test' / 'T0001.png'))
    assert np.array_equal(image, cv2.resize(raw, (48, 48)))
    raw_mask = cv2.imread(str(next(phantom_refuge.rglob('T0001.bmp'))), 0)
    ids = cv2.imread(str(tmp_path / 'out' / 'masks' / 'test' / 'T0001.png'), 0)
    nearest = cv2.resize(raw_mask, (48, 48), interpolation=cv2.INTER_NEAREST_EXACT)
    assert np.array_equal(np.array([255, 128, 0])[ids], nearest)


def test_info(prepared):
    info = json.loads((prepared / 'dataset_info.json').read_text())
    assert info['classes'] == ['background', 'rim', 'cup']
    assert info['cls_classes'] == ['non-glaucoma', 'glaucoma']
    assert info['phantom'] is True
    assert info['command'].startswith(
        'python prepare_dataset/refuge.py RAW_ROOT OUT_ROOT --size 48'
    )
    for split in common.SPLITS:
        entry = info['splits'][split]
        assert entry['num_samples'] == entry['num_patients'] == 3
        assert entry['cls_counts'] == {'non-glaucoma': 2, 'glaucoma': 1}
        name = f'annotations/{split}.json'
        assert info['files'][name] == sha256_file(prepared / name)
        lines = ''.join(
            f'{record[key]} {sha256_file(prepared / record[key])}\n'
            for record in records_of(prepared, split)
            for key in ('img_path', 'seg_map_path')
        )
        assert entry['images_and_masks_sha256'] == hashlib.sha256(lines.encode()).hexdigest()


def test_two_runs_give_the_same_bytes(phantom_refuge, prepared, tmp_path, tree):
    refuge.prepare(phantom_refuge, tmp_path / 'elsewhere', size=48)
    assert tree(tmp_path / 'elsewhere') == tree(prepared)


def test_renamed_layout_gives_the_same_result(phantom_refuge, prepared, tmp_path, tree):
    raw = rename_by_hand(phantom_refuge, tmp_path / 'raw')
    refuge.prepare(raw, tmp_path / 'out', size=48)
    found, expected = tree(tmp_path / 'out'), tree(prepared)
    found.pop('dataset_info.json')  # it tells phantoms from real files by phantom_info.json
    expected.pop('dataset_info.json')
    assert found == expected


def test_archives_nested_as_they_unpack(raw_refuge, prepared, tmp_path, tree):
    nested = tmp_path / 'nested'
    for name in ('Training400', 'Annotation-Training400', 'REFUGE-Validation400'):
        (nested / name).mkdir(parents=True)
        (raw_refuge / name).rename(nested / name / name)
    for name in ('REFUGE-Validation400-GT', 'Test400', 'REFUGE-Test-GT', 'phantom_info.json'):
        (raw_refuge / name).rename(nested / name)
    (nested / '__MACOSX' / 'Test400').mkdir(parents=True)
    (nested / '__MACOSX' / 'Test400' / 'T0001.jpg').write_text('litter')
    flat = nested / 'REFUGE-Test-GT' / 'Disc_Cup_Masks'
    for path in list(flat.rglob('*.bmp')):
        path.rename(flat / path.name)
    refuge.prepare(nested, tmp_path / 'out', size=48)
    assert tree(tmp_path / 'out') == tree(prepared)


def test_some_splits_only(raw_refuge, tmp_path, cli):
    shutil.rmtree(raw_refuge / 'REFUGE-Test-GT')
    code, out, err = cli(
        refuge.main, raw_refuge, tmp_path / 'out', '--size', 32, '--splits', 'val', 'train'
    )
    assert (code, err.count('\n')) == (0, 1)
    assert err.startswith('note: train 3, val 3 cases; the official set has 400')
    assert out == f'{tmp_path}/out: train 3 images of 3 patients; val 3 images of 3 patients\n'
    info = json.loads((tmp_path / 'out' / 'dataset_info.json').read_text())
    assert list(info['splits']) == ['train', 'val']
    assert sorted(path.name for path in (tmp_path / 'out' / 'annotations').iterdir()) == [
        'train.json',
        'val.json',
    ]
