"""The seven fundus sets: from raw files to tasks, splits, frames; and a user's mistakes."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from mmjoint.functional.fundus_frame import to_raw_frame
from mmjoint.utils.index_png import read_index_png, write_index_png
from mmjoint.utils.io import sha256_file

from .scripts import (
    aria,
    common,
    ddr,
    drive,
    fundus_tasks,
    idrid,
    make_phantoms,
    refuge_tasks,
    reta,
    stare,
)
from .test_mistakes import check, copy, cut_off, empty, image, move, nothing, remove, write_bytes

SCRIPTS = {
    script.RECIPE.dataset: script for script in (reta, ddr, refuge_tasks, idrid, drive, stare, aria)
}
NUM_CASES = {'reta': 6, 'ddr': 7, 'refuge_tasks': 6, 'idrid': 6, 'drive': 4, 'stare': 3, 'aria': 7}
# Per set its splits and the task that it labels.
SPLITS = {
    'reta': ({'train': 4}, 'vessel'),
    'ddr': ({'train': 4, 'val': 1, 'test': 2}, 'lesion'),
    'refuge_tasks': ({'train': 2, 'val': 2, 'test': 2}, 'odoc'),
    'idrid': ({'train': 4, 'test': 2}, 'lesion'),
    'drive': ({'train': 2, 'test': 2}, 'vessel'),
    'stare': ({'test': 3}, 'vessel'),
    'aria': ({'test': 7}, 'vessel'),
}


@pytest.fixture(scope='module')
def phantoms(tmp_path_factory):
    """Set -> raw folder; read only."""
    root = tmp_path_factory.mktemp('phantoms')
    for name, count in NUM_CASES.items():
        make_phantoms.make_phantoms(name, root / name, num_cases=count, seed=3, size=64)
    return {name: root / name for name in NUM_CASES}


@pytest.fixture(scope='module')
def prepared(phantoms, tmp_path_factory):
    """Set -> prepared folder; read only."""
    root = tmp_path_factory.mktemp('prepared')
    for name, raw in phantoms.items():
        fundus_tasks.prepare(SCRIPTS[name].RECIPE, raw, root / name, truth=True)
    return {name: root / name for name in phantoms}


def records(root, split):
    return json.loads((root / f'annotations/{split}.json').read_text())


def raw_image(phantoms, name, record):
    path = phantoms[name] / record['raw_path']
    return fundus_tasks.read_photograph(path)


@pytest.mark.parametrize('name', SCRIPTS)
def test_splits_and_records(name, prepared):
    splits, task = SPLITS[name]
    root = prepared[name]
    found = {path.stem for path in (root / 'annotations').iterdir()}
    assert found == {*splits, *(f'{split}_truth' for split in splits)}
    for split, count in splits.items():
        rows = records(root, split)
        assert len(rows) == count == len({row['img_path'] for row in rows})
        for row in rows:
            assert list(row['task_map_paths']) == [task]
            assert row['task_map_paths'][task] == f'{task}/{row["patient_id"]}.png'
            assert row['img_path'].startswith(f'images/{row["patient_id"]}.')
            assert row['domain'] == name.removesuffix('_tasks') and row['spacing'] is None
    assert not any((root / other).exists() for other in {'vessel', 'lesion', 'odoc'} - {task})


@pytest.mark.parametrize('name', SCRIPTS)
def test_images_and_label_maps_share_their_frame(name, prepared, phantoms):
    root, task = prepared[name], SPLITS[name][1]
    for split in SPLITS[name][0]:
        for row in records(root, split):
            raw = raw_image(phantoms, name, row)
            assert row['ori_shape'] == list(raw.shape[:2])
            stored = cv2.imread(str(root / row['img_path']))
            side = len(stored)
            ids = read_index_png(root / row['task_map_paths'][task])
            fov = read_index_png(root / row['fov_path'])
            assert stored.shape == (side, side, 3) and ids.shape == fov.shape == (side, side)
            assert set(np.unique(fov)) == {0, 1} and fov.mean() > 0.45
            assert (ids[fov == 0] > 0).sum() <= 0.1 * (ids > 0).sum()  # its soft edge

            # Back in the raw frame nothing but what was cut off is lost.
            left, top, width, height = row['frame']['crop']
            back = to_raw_frame(stored.transpose(2, 0, 1), row['frame'], row['ori_shape'])
            inside = np.zeros(raw.shape[:2], bool)
            inside[top : top + height, left : left + width] = True
            assert not back[:, ~inside].any()
            apart = np.abs(back.transpose(1, 2, 0)[inside].astype(int) - raw[inside])
            assert apart.mean() < (4 if row['img_path'].endswith('.jpg') else 1e-9)
            assert inside.all() or raw[~inside].mean() < 20


@pytest.mark.parametrize('name', SCRIPTS)
def test_label_maps_are_the_phantoms_truth(name, prepared, phantoms):
    root, task = prepared[name], SPLITS[name][1]
    for split in SPLITS[name][0]:
        pairs = zip(records(root, split), records(root, f'{split}_truth'), strict=True)
        for row, whole in pairs:
            assert list(whole['task_map_paths']) == ['vessel', 'lesion', 'odoc']
            assert {**whole, 'task_map_paths': None} == {**row, 'task_map_paths': None}
            labelled = read_index_png(root / row['task_map_paths'][task])
            assert np.array_equal(labelled, read_index_png(root / whole['task_map_paths'][task]))
            for other, path in whole['task_map_paths'].items():
                known = phantoms[name] / 'truth' / other / f'{row["patient_id"]}.png'
                back = to_raw_frame(read_index_png(root / path), row['frame'], row['ori_shape'])
                assert np.array_equal(back, read_index_png(known))


def test_cropped_and_whole_sets(prepared):
    for name, script in SCRIPTS.items():
        rows = records(prepared[name], 'test' if 'test' in SPLITS[name][0] else 'train')
        whole = [row['frame']['crop'] == [0, 0, *row['ori_shape'][::-1]] for row in rows]
        assert all(whole) if not script.RECIPE.crop else not all(whole)
    pad = records(prepared['aria'], 'test')[0]['frame']['pad']
    assert pad == [10, 11, 0, 0]  # 64x85, as 576x768 gets 96 and 96


def test_discs_of_idrid_are_no_label_map_of_the_task(prepared):
    for split in ('train', 'test'):
        for row in records(prepared['idrid'], f'{split}_truth'):
            disc = read_index_png(prepared['idrid'] / row['od_map_path'])
            odoc = read_index_png(prepared['idrid'] / row['task_map_paths']['odoc'])
            assert np.array_equal(disc, odoc > 0) and disc.any()


def test_files_without_loss_stay_so(prepared, phantoms):
    row = records(prepared['drive'], 'test')[0]
    assert row['img_path'] == 'images/01_test.png'
    back = to_raw_frame(
        cv2.imread(str(prepared['drive'] / row['img_path'])).transpose(2, 0, 1),
        row['frame'],
        row['ori_shape'],
    )
    raw = cv2.imread(str(phantoms['drive'] / row['raw_path'])).transpose(2, 0, 1)
    assert np.array_equal(back[back > 0], raw[back > 0])
    official = np.array(Image.open(phantoms['drive'] / 'DRIVE/test/mask/01_test_mask.gif'))
    fov = to_raw_frame(
        read_index_png(prepared['drive'] / row['fov_path']), row['frame'], row['ori_shape']
    )
    assert np.array_equal(fov > 0, official > 0)


@pytest.mark.parametrize('name', ['stare', 'aria'])
def test_another_observer(name, phantoms, prepared, tmp_path, cli):
    _, second = SCRIPTS[name].RECIPE.observers
    words = (phantoms[name], tmp_path / 'out', '--observer', second)
    assert cli(SCRIPTS[name].main, *words)[0] == 0
    path = records(prepared[name], 'test')[0]['task_map_paths']['vessel']
    first, other = (read_index_png(root / path) for root in (prepared[name], tmp_path / 'out'))
    assert 0 < other.sum() < first.sum() and not (other > first).any()
    info = json.loads((tmp_path / 'out' / 'dataset_info.json').read_text())
    assert info['command'].endswith(
        f'{name}.py RAW_ROOT OUT_ROOT --threshold 20 --observer {second}'
    )


def test_dataset_info(prepared):
    info = json.loads((prepared['ddr'] / 'dataset_info.json').read_text())
    assert info['dataset'] == 'ddr' and info['phantom'] is True and info['classes'] == []
    assert info['tasks']['odoc'] == {'disc': [1, 2], 'cup': [2]}
    assert [info['splits'][split]['num_samples'] for split in common.SPLITS] == [4, 1, 2]
    name = 'annotations/val_truth.json'
    assert info['files'][name] == sha256_file(prepared['ddr'] / name)
    sums = {part['images_and_masks_sha256'] for part in info['splits'].values()}
    assert len(sums) == 6
    assert (
        info['command'] == 'python prepare_dataset/ddr.py RAW_ROOT OUT_ROOT --threshold 20 --truth'
    )


@pytest.mark.parametrize('name', SCRIPTS)
def test_same_bytes_again_and_without_truth(name, phantoms, prepared, tmp_path, cli, tree):
    script = SCRIPTS[name]
    assert cli(script.main, phantoms[name], tmp_path / 'a', '--truth')[0] == 0
    assert tree(tmp_path / 'a') == tree(prepared[name])
    code, out, err = cli(script.main, phantoms[name], tmp_path / 'b')
    counts = SPLITS[name][0]
    parts = [f'{split} {count} images of {count} patients' for split, count in counts.items()]
    assert (code, out) == (0, f'{tmp_path}/b: {"; ".join(parts)}\n')
    assert re.search(r'^note: .* cases; the official set has ', err, re.M)
    assert not (tmp_path / 'b' / 'truth').exists()
    assert {path.stem for path in (tmp_path / 'b/annotations').iterdir()} == set(counts)


@pytest.mark.parametrize('name', SCRIPTS)
def test_smallest_images(name, tmp_path, cli):
    words = ('--num-cases', 6, '--size', 16)
    assert cli(make_phantoms.main, name, tmp_path / 'raw', *words)[0] == 0
    code, _, err = cli(SCRIPTS[name].main, tmp_path / 'raw', tmp_path / 'out', '--truth')
    assert code == 0, err


# --------------------------------------------------------------------------------- mistakes

DDR_TRAIN = 'DDR-dataset/lesion_segmentation/train'
DDR_MASK = f'{DDR_TRAIN}/label/EX/007-0001-100.tif'
IDRID = 'A. Segmentation'
IDRID_TRAIN = f'{IDRID}/1. Original Images/a. Training Set'
DISC = f'{IDRID}/2. All Segmentation Groundtruths/a. Training Set/5. Optic Disc/IDRiD_02_OD.tif'
RETA_MASK = 'RETA/train/vessels/IDRiD_02_vessel.png'
MANUAL = 'DRIVE/test/1st_manual/01_manual1.gif'
ARIA_MASK = 'aria_c_markup_vessel/aria_c_1_1_BDP.tif'
REFUGE_MASK = 'REFUGE-Test-GT/Disc_Cup_Masks/T0001.bmp'
GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def without_lesions(raw):
    for path in raw.glob(f'{IDRID}/2. */*/*/IDRiD_02_*.tif'):
        if not path.stem.endswith('OD'):
            path.unlink()


def truth(values, name):
    return lambda raw: write_index_png(raw / name, values)


# id: (set, how the raw files are spoilt, further words, exit code, message)
MISTAKES = {
    'raw folder missing': (
        'reta', shutil.rmtree, (), 1, r'raw: expected the folder of the downloaded files',
    ),
    'raw folder empty': ('ddr', empty, (), 1, r'raw: .* found an empty folder; unpack'),
    'masks of RETA missing': (
        'reta', remove('RETA/train/vessels'), (), 1,
        r'expected IDRiD_<nn>_vessel\.png, found RETA, phantom_info\.json, truth; unpack both',
    ),
    'photograph of a mask missing': (
        'reta', remove('RETA/train/images/IDRiD_02.jpg'), (), 1,
        r'IDRiD_02_vessel\.png: expected a photograph IDRiD_02, found none; unpack the images',
    ),
    'photograph there twice': (
        'reta', copy('RETA/train/images/IDRiD_02.jpg', 'RETA/more/IDRiD_02.jpg'), (), 1,
        r'RETA/train/images/IDRiD_02\.jpg: expected one file per case, found another for IDRiD_02',
    ),
    'mask of another size': (
        'reta', image(RETA_MASK, np.zeros((9, 7), np.uint8)), (), 1,
        r'IDRiD_02_vessel\.png: expected the size of its image, 96x64, found 7x9; use',
    ),
    'photograph as mask': (
        'reta', image(RETA_MASK, GREY), (), 1,
        r'IDRiD_02_vessel\.png: expected a mask of two values, found 256; use the original file',
    ),
    'mask cut off': ('reta', cut_off(RETA_MASK), (), 1, r'_vessel\.png: .* damaged or cut off'),
    'photograph cut off': (
        'reta', cut_off('RETA/train/images/IDRiD_02.jpg', 0.9), (), 1,
        r'IDRiD_02\.jpg: expected a whole JPG file, found it cut off',
    ),
    'no split of DDR': (
        'ddr', remove('DDR-dataset/lesion_segmentation/valid'), (), 1,
        r'expected photographs valid/image/<id>\.jpg and masks .* for the val split, found DDR',
    ),
    'photograph without any mask': (
        'ddr',
        lambda raw: [p.unlink() for p in (raw / DDR_TRAIN).glob('label/*/007-0001-100.tif')],
        (), 1, r'007-0001-100\.jpg: expected a mask <kind>/007-0001-100\.tif of at least one',
    ),
    'web page as TIFF': (
        'ddr', write_bytes(DDR_MASK, b'<html>'), (), 1,
        r'007-0001-100\.tif: expected an image, found content that is none; download',
    ),
    'TIFF cut off': ('ddr', cut_off(DDR_MASK, 0.7), (), 1, r'007-0001-100\.tif: .* cut off'),
    'one case in two splits': (
        'ddr',
        lambda raw: [
            copy(f'{DDR_TRAIN}/{name}', f'{DDR_TRAIN[:-5]}test/{name}')(raw)
            for name in ('image/007-0001-100.jpg', 'label/EX/007-0001-100.tif')
        ],
        (), 1, r'expected each case in one split, found 007-0001-100 in another, too',
    ),
    'photographs of IDRiD in no split': (
        'idrid', move(IDRID_TRAIN, 'elsewhere'), (), 1,
        r'elsewhere/IDRiD_01\.jpg: expected it in a folder "a\. Training Set" or .* found neither',
    ),
    'photograph of IDRiD without lesions': (
        'idrid', without_lesions, (), 1,
        r'IDRiD_02\.jpg: expected a mask IDRiD_02_<kind>\.tif of at least one lesion, found none',
    ),
    'disc of one photograph missing': (
        'idrid', remove(DISC), (), 1, r'IDRiD_02\.jpg: expected IDRiD_02_OD\.tif, found none',
    ),
    'vessels of one photograph missing': (
        'drive', remove(MANUAL), (), 1,
        r'01_test\.tif: expected the mask 1st_manual/01_manual1\.gif, found none',
    ),
    'GIF cut off': ('drive', cut_off(MANUAL), (), 1, r'01_manual1\.gif: .* damaged or cut off'),
    'no such observer': (
        'stare', remove('labels-vk'), (), 1, r'expected .* and masks im<nnnn>\.vk\.ppm, found labe',
    ),
    'packed file damaged': (
        'stare', cut_off('stare-images/im0002.ppm.gz'), (), 1, r'im0002\.ppm\.gz: .* cut off',
    ),
    'unknown observer': ('aria', nothing, ('--observer', 'me'), 2, r"invalid choice: 'me'"),
    'mask without photograph': (
        'aria', remove('aria_c_markups/aria_c_1_1.tif'), (), 1,
        r'aria_c_1_1_BDP\.tif: expected a photograph aria_c_1_1, found none',
    ),
    'photograph without mask': (
        'aria', remove(ARIA_MASK), (), 1,
        r'aria_c_1_1\.tif: expected the mask aria_c_1_1_BDP\.tif, found none',
    ),
    'class ids in place of REFUGE values': (
        'refuge_tasks', image(REFUGE_MASK, np.full((48, 48), 2, np.uint8)), (), 1,
        r'T0001\.bmp: expected mask values 0, 128, 255, found 2 in 2304 pixels',
    ),
    'no truth': (
        'stare', remove('truth/odoc/im0002.png'), ('--truth',), 1,
        r'truth/odoc/im0002\.png: expected the full truth that phantoms have, found no such label',
    ),
    'truth of other values': (
        'stare', truth(np.full((64, 74), 3, np.uint8), 'truth/odoc/im0002.png'), ('--truth',), 1,
        r'im0002\.png: expected the values \[0, 1, 2\], found \[3\]; make the phantoms again',
    ),
    'threshold out of range': (
        'ddr', nothing, ('--threshold', 255), 2, r'--threshold: expected 0 to 254, got 255',
    ),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(mistake, phantoms, tmp_path, cli):
    name, spoil, words, code, message = MISTAKES[mistake]
    raw = shutil.copytree(phantoms[name], tmp_path / 'raw')
    spoil(raw)
    out = tmp_path / 'out'
    ended = cli(SCRIPTS[name].main, raw, out, *words)
    check(ended, code, message, (out, tmp_path / 'out.partial'))
