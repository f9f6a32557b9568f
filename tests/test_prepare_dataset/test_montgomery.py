import json
import re
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from .scripts import make_phantoms, montgomery
from .test_mistakes import check, copy, cut_off, empty, remove, write_bytes

ROOT = 'MontgomerySet'


@pytest.fixture(scope='module')
def phantom(tmp_path_factory):
    """Twelve cases in the raw layout; read only."""
    root = tmp_path_factory.mktemp('phantoms') / 'montgomery'
    make_phantoms.make_phantoms('montgomery', root, num_cases=12, seed=3, size=48)
    return root


@pytest.fixture
def raw(phantom, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(phantom, tmp_path / 'raw')


@pytest.fixture(scope='module')
def prepared(phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'montgomery'
    montgomery.prepare(phantom, out, size=32)
    return out


def rows_of(out):
    return {
        path.stem: json.loads(path.read_text()) for path in sorted((out / 'annotations').iterdir())
    }


def everything(out):
    return sum(rows_of(out).values(), [])


def test_splits_in_the_papers_proportions(phantom, prepared):
    rows = rows_of(prepared)
    assert {split: len(part) for split, part in rows.items()} == {'train': 8, 'val': 1, 'test': 3}
    found = [row['patient_id'] for row in everything(prepared)]
    assert sorted(found) == sorted(path.stem for path in phantom.rglob('CXR_png/*.png'))


def test_official_number_gives_the_papers_splits():
    records = [{'patient_id': f'c{number:03d}'} for number in range(138)]
    splits = montgomery.make_splits(records, seed=0)
    assert {split: len(rows) for split, rows in splits.items()} == montgomery.OFFICIAL_CASES
    names = [row['patient_id'] for rows in splits.values() for row in rows]
    assert len(set(names)) == 138
    assert montgomery.make_splits(records, seed=0) == splits
    assert montgomery.make_splits(records, seed=1) != splits


def test_images_masks_and_findings(phantom, prepared):
    for row in everything(prepared):
        case = row['patient_id']
        with Image.open(phantom / ROOT / 'CXR_png' / f'{case}.png') as image:
            assert row['ori_shape'] == [image.height, image.width]
            small = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
        stored = cv2.imread(str(prepared / row['img_path']), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(stored, small)
        union = np.zeros(row['ori_shape'], np.uint8)
        for side in ('left', 'right'):
            with Image.open(phantom / ROOT / f'ManualMask/{side}Mask/{case}.png') as mask:
                union |= np.array(mask).astype(np.uint8)
        # The pixel in which the middle of a pixel of the result lies.
        y, x = (np.floor((np.arange(32) + 0.5) * length / 32).astype(int) for length in union.shape)
        stored = cv2.imread(str(prepared / row['seg_map_path']), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(stored)) == {0, 1}
        assert np.mean(stored != union[np.ix_(y, x)]) < 0.02
        assert row['domain'] == 'montgomery' and 'gt_label' not in row
        assert ('tuberculosis' in row['finding']) == (case[-1] == '1')


def test_overlapping_lungs_and_masks_of_8_bits(raw, tmp_path):
    case = min(path.stem for path in raw.rglob('CXR_png/*.png'))
    with Image.open(raw / ROOT / 'CXR_png' / f'{case}.png') as image:
        mask = np.zeros((image.height, image.width), np.uint8)
    mask[10:30, 10:30] = 255
    for side in ('left', 'right'):
        Image.fromarray(mask).save(raw / ROOT / f'ManualMask/{side}Mask/{case}.png')
    montgomery.prepare(raw, tmp_path / 'out', size=32)
    stored = cv2.imread(str(tmp_path / f'out/masks/{case}.png'), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(stored)) == {0, 1}
    assert stored.mean() == pytest.approx((mask > 0).mean(), rel=0.1)


def test_readings_are_not_needed(raw, tmp_path):
    shutil.rmtree(raw / ROOT / 'ClinicalReadings')
    montgomery.prepare(raw, tmp_path / 'out', size=32)
    assert not any('finding' in row for row in everything(tmp_path / 'out'))


def test_same_bytes_again(phantom, prepared, tmp_path, cli, tree):
    code, out, err = cli(montgomery.main, phantom, tmp_path / 'out', '--size', 32)
    assert code == 0 and out.startswith(f'{tmp_path}/out: train 8 images of 8 patients; ')
    assert re.fullmatch(r'note: 12 cases; the whole set has 138\n', err)
    assert tree(tmp_path / 'out') == tree(prepared)


def case_of(raw):
    return min(path.stem for path in raw.rglob('CXR_png/*.png'))


def at(folder, spoil, suffix='.png'):
    return lambda raw: spoil(f'{ROOT}/{folder}/{case_of(raw)}{suffix}')(raw)


def image(values):
    return lambda name: lambda raw: Image.fromarray(values).save(raw / name)


# id: (how the raw files are spoilt, message)
MISTAKES = {
    'raw folder empty': (empty, r'expected the downloaded files, found an empty folder'),
    'images missing': (
        remove(f'{ROOT}/CXR_png'), r'raw: expected images in MontgomerySet/CXR_png, found Montgom',
    ),
    'an image missing': (
        at('CXR_png', remove), r'leftMask/\w+\.png: expected an image CXR_png/\w+\.png, found none',
    ),
    'a mask missing': (
        at('ManualMask/rightMask', remove),
        r'CXR_png/\w+\.png: expected a mask ManualMask/rightMask/\w+\.png, found none; unpack',
    ),
    'an image there twice': (
        lambda raw: copy(
            f'{ROOT}/CXR_png/{case_of(raw)}.png', f'more/CXR_png/{case_of(raw)}.png'
        )(raw), r'expected one file per case, found another for MCUCXR_\d{4}_\d .*; remove',
    ),
    'image cut off': (
        at('CXR_png', cut_off), r'CXR_png/\w+\.png: expected a whole PNG file, found it damaged or',
    ),
    'mask is a web page': (
        at('ManualMask/leftMask', lambda name: write_bytes(name, b'<html>')),
        r'leftMask/\w+\.png: expected a whole PNG file, found content that is no image',
    ),
    'unknown mask value': (
        at('ManualMask/leftMask', image(np.full((48, 39), 7, np.uint8))),
        r'leftMask/\w+\.png: expected mask values 0, 255, found 7 in 1872 pixels; use',
    ),
    'masks of another size than the image': (
        lambda raw: [
            at(f'ManualMask/{side}Mask', image(np.full((9, 7), 255, np.uint8)))(raw)
            for side in ('left', 'right')
        ], r'leftMask/\w+\.png: expected the size of its image, \d\dx\d\d, found 7x9; use',
    ),
    'image of 16 bits': (
        at('CXR_png', image(np.full((48, 39), 4000, np.uint16))),
        r'CXR_png/\w+\.png: expected grey or colour values of 8 bits, found the mode I;16',
    ),
    'another text as reading': (
        at('ClinicalReadings', lambda name: write_bytes(name, b'normal\n'), '.txt'),
        r"txt: expected the lines Patient's Sex, Patient's Age and a finding, found 1 lines from '",
    ),
    'a reading of bytes': (
        at('ClinicalReadings', lambda name: write_bytes(name, b'\xff\xfe\x00'), '.txt'),
        r'txt: expected a text, found a file that cannot be read as one; unpack',
    ),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(mistake, raw, tmp_path, cli):
    spoil, message = MISTAKES[mistake]
    spoil(raw)
    out = tmp_path / 'out'
    ended = cli(montgomery.main, raw, out, '--size', 32)
    check(ended, 1, message, (out, tmp_path / 'out.partial'))


def test_too_few_cases_for_all_splits(tmp_path, cli):
    make_phantoms.make_phantoms('montgomery', tmp_path / 'raw', num_cases=2, size=32)
    ended = cli(montgomery.main, tmp_path / 'raw', tmp_path / 'out')
    check(ended, 1, r"expected at least one case in every split, found none in 'train'", ())
