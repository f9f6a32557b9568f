import hashlib
import json
import re
import shutil

import cv2
import numpy as np
import pytest

from mmjoint.utils.io import sha256_file

from .scripts import common, isic2016, isic2016_layout, make_phantoms
from .test_mistakes import check, copy, cut_off, empty, image, move, nothing, remove, write_bytes

TRAIN, TEST = 'ISBI2016_ISIC_Part1_Training', 'ISBI2016_ISIC_Part1_Test'
# 14 cases: 0 to 9 for training, 10 to 13 for testing.
PHOTO = f'{TRAIN}_Data/ISIC_0000003.jpg'
MASK = f'{TRAIN}_GroundTruth/ISIC_0000003_Segmentation.png'
TEST_PHOTO = f'{TEST}_Data/ISIC_0000011.jpg'
TEST_MASK = f'{TEST}_GroundTruth/ISIC_0000011_Segmentation.png'


@pytest.fixture(scope='module')
def phantom_isic2016(tmp_path_factory):
    """Fourteen photographs in ISIC 2016's raw layout; read only."""
    root = tmp_path_factory.mktemp('phantoms') / 'isic2016'
    make_phantoms.make_phantoms('isic2016', root, num_cases=14, seed=3, size=48)
    return root


@pytest.fixture
def raw_isic2016(phantom_isic2016, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(phantom_isic2016, tmp_path / 'raw')


@pytest.fixture(scope='module')
def prepared(phantom_isic2016, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'isic2016'
    isic2016.prepare(phantom_isic2016, out)
    return out


def records_of(out, split):
    return json.loads((out / 'annotations' / f'{split}.json').read_text())


def ids_of(out, split):
    return [record['patient_id'] for record in records_of(out, split)]


def test_records(phantom_isic2016, prepared):
    for split in common.SPLITS:
        for record in records_of(prepared, split):
            case = record['patient_id']
            (photo,) = phantom_isic2016.rglob(f'{case}.jpg')
            assert record == {
                'img_path': f'images/{split}/{case}.jpg',
                'seg_map_path': f'masks/{split}/{case}.png',
                'patient_id': case,
                'spacing': None,
                'domain': 'isic2016',
                'ori_shape': list(cv2.imread(str(photo)).shape[:2]),
            }


def test_photographs_are_copied_byte_for_byte_and_masks_recoded_at_full_size(
    phantom_isic2016, prepared
):
    for split in common.SPLITS:
        for record in records_of(prepared, split):
            case = record['patient_id']
            (photo,) = phantom_isic2016.rglob(f'{case}.jpg')
            assert (prepared / record['img_path']).read_bytes() == photo.read_bytes()
            (path,) = phantom_isic2016.rglob(f'{case}_Segmentation.png')
            raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            ids = cv2.imread(str(prepared / record['seg_map_path']), cv2.IMREAD_UNCHANGED)
            assert ids.ndim == 2 and ids.dtype == np.uint8
            assert np.array_equal(ids * 255, raw) and set(np.unique(ids)) == {0, 1}


def test_splits(phantom_isic2016, prepared):
    train, val, test = (ids_of(prepared, split) for split in common.SPLITS)
    assert len(val) == 1  # floor(10 * 0.15)
    assert sorted(train + val) == [f'ISIC_{number:07d}' for number in range(10)]
    assert test == [f'ISIC_{number:07d}' for number in range(10, 14)]
    assert train == sorted(train)


def cases(count):
    return [isic2016_layout.Case(f'c{number:03d}', None, None) for number in range(count)]


def test_division_of_the_official_number():
    train, val = isic2016.divide_training(cases(900), 15.0, 0)
    assert (len(train), len(val)) == (765, 135)
    assert sorted(train + val, key=lambda case: case.case_id) == cases(900)
    again, other = (isic2016.divide_training(cases(900), 15.0, seed)[1] for seed in (0, 1))
    assert again == val and other != val
    assert 10 < len(set(other) & set(val)) < 35  # by chance 135 * 0.15


@pytest.mark.parametrize(('count', 'percent', 'val'), [(20, 15, 3), (19, 15, 2), (3, 99, 2)])
def test_number_of_validation_cases_is_rounded_down(count, percent, val):
    assert len(isic2016.divide_training(cases(count), percent, 0)[1]) == val


def test_division_does_not_depend_on_the_order_of_the_file_system(phantom_isic2016, tmp_path):
    # Files of the other layout, made in reverse order.
    raw = tmp_path / 'raw'
    for source, target in (
        (f'{TRAIN}_Data', 'data/imgs'),
        (f'{TRAIN}_GroundTruth', 'data/masks'),
        (f'{TEST}_Data', 'data/imgs_test'),
        (f'{TEST}_GroundTruth', 'data/masks_test'),
    ):
        (raw / target).mkdir(parents=True)
        for path in sorted((phantom_isic2016 / source).iterdir(), reverse=True):
            shutil.copy(path, raw / target)
    both = []
    for root, name in ((raw, 'renamed'), (phantom_isic2016, 'official')):
        isic2016.prepare(root, tmp_path / name, val_percent=30, seed=4)
        both.append([ids_of(tmp_path / name, split) for split in common.SPLITS])
    assert both[0] == both[1]
    assert [len(ids) for ids in both[0]] == [7, 3, 4]


def test_unpacked_into_a_folder_of_the_same_name_with_litter(raw_isic2016, tmp_path):
    (raw_isic2016 / f'{TRAIN}_Data').rename(raw_isic2016 / 'inner')
    (raw_isic2016 / f'{TRAIN}_Data').mkdir()
    (raw_isic2016 / 'inner').rename(raw_isic2016 / f'{TRAIN}_Data' / f'{TRAIN}_Data')
    litter = raw_isic2016 / '__MACOSX' / f'{TEST}_Data' / 'ISIC_0000011.jpg'
    litter.parent.mkdir(parents=True)
    litter.write_bytes(b'x')
    (raw_isic2016 / f'{TEST}_Data' / 'Thumbs.db').write_bytes(b'x')
    records = isic2016.prepare(raw_isic2016, tmp_path / 'out')
    assert [len(rows) for rows in records.values()] == [9, 1, 4]


def test_masks_with_another_ending(raw_isic2016, tmp_path, cli):
    for path in raw_isic2016.rglob('*_Segmentation.png'):
        path.rename(path.with_name(path.name.replace('_Segmentation', '')))
    code, _, err = cli(isic2016.main, raw_isic2016, tmp_path / 'out', '--mask-ending', '')
    assert code == 0, err
    assert len(ids_of(tmp_path / 'out', 'test')) == 4


def test_masks_of_one_bit(raw_isic2016, tmp_path):
    grey = cv2.imread(str(raw_isic2016 / MASK), 0)
    cv2.imwrite(str(raw_isic2016 / MASK), grey, [cv2.IMWRITE_PNG_BILEVEL, 1])
    isic2016.prepare(raw_isic2016, tmp_path / 'out')
    (path,) = (tmp_path / 'out').rglob('ISIC_0000003.png')
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) * 255, grey)


def test_dataset_info(prepared):
    info = json.loads((prepared / 'dataset_info.json').read_text())
    assert info['dataset'] == 'isic2016' and info['phantom'] is True
    assert info['classes'] == ['background', 'lesion'] and info['cls_classes'] == []
    assert [info['splits'][split]['num_samples'] for split in common.SPLITS] == [9, 1, 4]
    assert info['files']['annotations/val.json'] == sha256_file(prepared / 'annotations/val.json')
    digest = hashlib.sha256()
    for record in records_of(prepared, 'val'):
        for key in ('img_path', 'seg_map_path'):
            digest.update(f'{record[key]} {sha256_file(prepared / record[key])}\n'.encode())
    assert info['splits']['val']['images_and_masks_sha256'] == digest.hexdigest()
    assert info['command'] == (
        'python prepare_dataset/isic2016.py RAW_ROOT OUT_ROOT --val-percent 15.0 --seed 0 '
        '--mask-ending _Segmentation'
    )


def test_same_bytes_again_and_after_a_killed_run(phantom_isic2016, prepared, tmp_path, cli, tree):
    (tmp_path / 'out.partial' / 'images').mkdir(parents=True)
    (tmp_path / 'out.partial' / 'images' / 'half.jpg').write_bytes(b'x')
    code, out, err = cli(isic2016.main, phantom_isic2016, tmp_path / 'out')
    assert code == 0
    assert out == (
        f'{tmp_path}/out: train 9 images of 9 patients; val 1 images of 1 patients; '
        'test 4 images of 4 patients\n'
    )
    assert re.fullmatch(r'note: train 9, val 1, test 4 cases; the official set has 900 .*\n', err)
    assert tree(tmp_path / 'out') == tree(prepared)
    assert not (tmp_path / 'out.partial').exists()


def colour(name):
    return image(name, np.full((8, 8, 3), (0, 0, 255), np.uint8))


# id: (how the raw files are spoilt, further words, exit code, message)
MISTAKES = {
    'raw folder missing': (
        shutil.rmtree, (), 1,
        r'raw: expected the folder of the downloaded files, found nothing there; check the path',
    ),
    'raw folder empty': (
        empty, (), 1, r'raw: expected the downloaded files, found an empty folder; unpack',
    ),
    'test part missing': (
        lambda raw: [remove(f'{TEST}_{kind}')(raw) for kind in ('Data', 'GroundTruth')], (), 1,
        r'expected the folders ISBI2016_ISIC_Part1_Test_Data and '
        r'ISBI2016_ISIC_Part1_Test_GroundTruth \(or imgs_test and masks_test\) for the test part, '
        r'found ISBI2016_ISIC_Part1_Training_Data, .*; unpack',
    ),
    'both layouts of one part': (
        copy(PHOTO, 'imgs/ISIC_0000003.jpg'), (), 1,
        r'one of the folders ISBI2016_ISIC_Part1_Training_Data and imgs for the train part, '
        r'found both layouts; keep one',
    ),
    'photographs missing': (
        remove(f'{TRAIN}_Data'), (), 1,
        r'expected photographs \(\.jpg, \.jpeg, \.png\) in a folder '
        r'ISBI2016_ISIC_Part1_Training_Data for the train part, found none',
    ),
    'masks missing': (
        remove(f'{TEST}_GroundTruth'), (), 1,
        r'expected masks \(\.png, \.bmp\) in a folder ISBI2016_ISIC_Part1_Test_GroundTruth for '
        r'the test part, found none',
    ),
    'photograph without mask': (
        remove(MASK), (), 1,
        r'ISIC_0000003\.jpg: expected a mask ISIC_0000003_Segmentation\.png in '
        r'ISBI2016_ISIC_Part1_Training_GroundTruth, found none; unpack the masks again',
    ),
    'mask without photograph': (
        remove(TEST_PHOTO), (), 1,
        r'ISIC_0000011_Segmentation\.png: expected a photograph ISIC_0000011\.jpg in '
        r'ISBI2016_ISIC_Part1_Test_Data, found none; unpack the images again',
    ),
    'mask under another name': (
        move(MASK, MASK.replace('_Segmentation', '_mask')), (), 1,
        r'ISIC_0000003_mask\.png: expected a mask called <id of the image>_Segmentation\.png, '
        r'found another name; rename it or set --mask-ending',
    ),
    'another mask ending': (
        nothing, ('--mask-ending', '_mask'), 1,
        r'_Segmentation\.png: expected a mask called <id of the image>_mask\.png, found',
    ),
    'photograph there twice': (
        copy(PHOTO, f'{TRAIN}_Data/more/ISIC_0000003.jpg'), (), 1,
        r'more/ISIC_0000003\.jpg: expected one file per case, found another for ISIC_0000003 .*; '
        r'remove one',
    ),
    'photograph in both parts': (
        lambda raw: [
            copy(PHOTO, f'{TEST}_Data/ISIC_0000003.jpg')(raw),
            copy(MASK, f'{TEST}_GroundTruth/ISIC_0000003_Segmentation.png')(raw),
        ], (), 1,
        r'Test_Data/ISIC_0000003\.jpg: expected other images than in the training part, found '
        r'ISIC_0000003 in both \(.*\); restore',
    ),
    'photograph cut off': (
        cut_off(PHOTO, 0.9), (), 1,
        r'ISIC_0000003\.jpg: expected a whole JPG file, found it cut off after \d+ bytes',
    ),
    'photograph of no bytes': (
        write_bytes(PHOTO, b''), (), 1, r'ISIC_0000003\.jpg: .* cut off after 0 bytes',
    ),
    'web page under the name of a photograph': (
        write_bytes(TEST_PHOTO, b'<html>'), (), 1,
        r'ISIC_0000011\.jpg: expected a whole JPG file, found content that is no image; download',
    ),
    'mask cut off': (
        cut_off(TEST_MASK), (), 1,
        r'ISIC_0000011_Segmentation\.png: expected a whole PNG file, found it cut off after',
    ),
    'mask is a web page': (
        write_bytes(TEST_MASK, b'<html>'), (), 1,
        r'ISIC_0000011_Segmentation\.png: expected a whole PNG file, found it cut off',
    ),
    'unknown mask value': (
        image(MASK, np.full((9, 7), 128, np.uint8)), (), 1,
        r'ISIC_0000003_Segmentation\.png: expected mask values 0, 255, found 128 in 63 pixels; use',
    ),
    'class numbers as mask': (
        image(MASK, np.full((9, 7), 1, np.uint8)), (), 1, r'values 0, 255, found 1 in 63 pixels',
    ),
    'coloured mask': (
        colour(MASK), (), 1,
        r'Segmentation\.png: expected a mask of one grey channel, found the mode RGB; use',
    ),
    'mask of another size': (
        image(TEST_MASK, np.zeros((9, 7), np.uint8)), (), 1,
        r'ISIC_0000011_Segmentation\.png: expected the size of its image, \d+x\d+, found 7x9; use',
    ),
    'no validation cases': (
        nothing, ('--val-percent', 5), 1,
        r'--val-percent: expected a share that leaves cases for train and val, found 5 for 10 tra',
    ),
    'no training cases': (
        nothing, ('--val-percent', 100), 1, r'found 100 for 10 training cases; change it or give',
    ),
    'share above 100': (
        nothing, ('--val-percent', 101), 2, r'--val-percent: expected 0 to 100, got 101',
    ),
    'misspelt option': (nothing, ('--val', '3', '--sed', 1), 2, r'unrecognized arguments: --sed'),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(mistake, raw_isic2016, tmp_path, cli):
    spoil, words, code, message = MISTAKES[mistake]
    spoil(raw_isic2016)
    out = tmp_path / 'out'
    ended = cli(isic2016.main, raw_isic2016, out, *words)
    check(ended, code, message, (out, tmp_path / 'out.partial'))


def test_mistakes_of_both_parts_are_told_together(raw_isic2016, tmp_path, cli):
    remove(MASK)(raw_isic2016)
    remove(TEST_MASK)(raw_isic2016)
    ended = cli(isic2016.main, raw_isic2016, tmp_path / 'out')
    check(ended, 1, r'ISIC_0000003\.jpg: .* \| .*ISIC_0000011\.jpg: ', [tmp_path / 'out'])


def test_earlier_result_is_kept_unless_asked_and_when_it_fails(raw_isic2016, tmp_path, cli, tree):
    words = (raw_isic2016, tmp_path / 'out')
    assert cli(isic2016.main, *words)[0] == 0
    before = tree(tmp_path / 'out')
    check(cli(isic2016.main, *words), 1, r'found one \(dataset_info\.json\); add --overwrite', [])
    cut_off(TEST_PHOTO)(raw_isic2016)
    check(cli(isic2016.main, *words, '--overwrite'), 1, 'cut off', [tmp_path / 'out.partial'])
    assert tree(tmp_path / 'out') == before
