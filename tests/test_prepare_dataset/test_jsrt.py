import json
import re
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from mmjoint.utils.errors import UserError

from .scripts import jsrt, make_phantoms
from .test_mistakes import check, copy, cut_off, empty, move, nothing, remove, write_bytes

SIZE = 48
IMG = 'All247images/JPCLN003.IMG'
LEFT = 'scratch/fold1/masks/left lung/JPCLN003.gif'


def phantom(tmp_path_factory, name, **options):
    root = tmp_path_factory.mktemp('phantoms') / name
    make_phantoms.make_phantoms('jsrt', root, num_cases=20, seed=3, size=SIZE, **options)
    return root


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Twenty cases as ``.IMG`` files: JPCLN001 to 012, JPCNN001 to 008; read only."""
    return phantom(tmp_path_factory, 'raw')


@pytest.fixture(scope='module')
def matlab(tmp_path_factory):
    """Twenty cases in ``jsrt.mat``; read only."""
    return phantom(tmp_path_factory, 'mat', mat=True)


@pytest.fixture
def raw(images, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(images, tmp_path / 'raw')


@pytest.fixture(scope='module')
def prepared(images, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'jsrt'
    jsrt.prepare(images, out, size=24, labelled=(3,))
    return out


def rows_of(out):
    return {
        path.stem: json.loads(path.read_text()) for path in sorted((out / 'annotations').iterdir())
    }


def ids(rows):
    return [row['patient_id'] for row in rows]


def pixels(out, row, key):
    return cv2.imread(str(out / row[key]), cv2.IMREAD_UNCHANGED)


def test_splits_follow_the_folds(prepared):
    rows = rows_of(prepared)
    odd = [f'JPCLN{n:03d}' for n in range(1, 13, 2)] + [f'JPCNN{n:03d}' for n in range(1, 9, 2)]
    assert sorted(ids(rows['train']) + ids(rows['val'])) == odd
    assert ids(rows['test']) == [case[:-1] + str((int(case[-3:]) + 1) % 10) for case in odd[:4]] + [
        'JPCLN010', 'JPCLN012', 'JPCNN002', 'JPCNN004', 'JPCNN006', 'JPCNN008',
    ]  # fmt: skip
    assert len(rows['val']) == 1  # 13 of 124, rounded
    assert len(rows['labelled_3']) == 3
    assert sorted(ids(rows['labelled_3']) + ids(rows['unlabelled_3'])) == ids(rows['train'])


def test_images_are_bright_where_the_film_is_clear(images, prepared):
    for rows in rows_of(prepared).values():
        for row in rows:
            data = (images / 'All247images' / f'{row["patient_id"]}.IMG').read_bytes()
            film = np.frombuffer(data, '>u2').reshape(SIZE, SIZE) / 4095
            # Twice smaller: the antialiased rule is near the mean of 2x2 pixels.
            means = (1 - film).reshape(24, 2, 24, 2).mean(axis=(1, 3)) * 255
            assert np.abs(pixels(prepared, row, 'img_path') - means).mean() < 4
            assert row['ori_shape'] == [SIZE, SIZE] and row['domain'] == 'jsrt'


def test_masks_are_the_union_of_both_lungs(images, prepared):
    for row in rows_of(prepared)['test']:
        union = np.zeros((24, 24), bool)
        for lung in ('left lung', 'right lung'):
            with Image.open(images / f'scratch/fold2/masks/{lung}/{row["patient_id"]}.gif') as mask:
                union |= np.array(mask.convert('L')) > 0
        stored = pixels(prepared, row, 'seg_map_path')
        assert stored.dtype == np.uint8 and np.array_equal(stored, union)


def test_pixels_of_both_lungs_are_1(raw, tmp_path):
    for lung in ('left lung', 'right lung'):
        mask = np.zeros((24, 24), np.uint8)
        mask[5:20, 8:16] = 255
        Image.fromarray(mask).save(raw / f'scratch/fold1/masks/{lung}/JPCLN003.gif')
    jsrt.prepare(raw, tmp_path / 'out', size=24)
    stored = cv2.imread(str(tmp_path / 'out/masks/JPCLN003.png'), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(stored, mask > 0)


def test_jsrt_mat(matlab, tmp_path):
    jsrt.prepare(matlab, tmp_path / 'out', size=SIZE, labelled=(3,))
    arrays, rows = loadmat(matlab / 'jsrt.mat'), rows_of(tmp_path / 'out')
    for split in ('train', 'val', 'test'):
        assert ids(rows[split]) == [f'{split}_{n:03d}' for n in range(len(arrays[f'x_{split}']))]
        for row, x, y in zip(rows[split], arrays[f'x_{split}'], arrays[f'y_{split}'], strict=True):
            image = pixels(tmp_path / 'out', row, 'img_path')
            assert np.abs(image - 255 * x).max() <= 0.5
            assert np.array_equal(pixels(tmp_path / 'out', row, 'seg_map_path'), y.max(axis=-1))
    assert set(ids(rows['labelled_3'])) < set(ids(rows['train']))


def arrays_of(x, y):
    return {f'{key}_{split}': a for key, a in (('x', x), ('y', y)) for split in jsrt.SPLITS}


@pytest.mark.parametrize(
    ('x', 'highest'),
    [
        (np.uint8([[0, 51], [102, 255]]), None),
        (np.array([[0, 0.2], [0.4, 1.0]]), None),
        (np.array([[0, 51.0], [102, 255]]), 255.0),
        (np.array([[0, 819], [1638, 4095]], np.uint16), 4095.0),
    ],
)
@pytest.mark.parametrize('channel', [False, True])
def test_ranges_of_jsrt_mat(x, highest, channel, tmp_path):
    x = x[None, ..., None] if channel else x[None]
    y = np.zeros((1, 2, 2, 3))
    y[0, 0, 0, :2] = 1  # an overlap, which the repository would make 2
    y[0, 1, 1, 2] = 1  # a further structure
    savemat(tmp_path / 'jsrt.mat', arrays_of(x, y))
    for images, masks in jsrt.read_mat(tmp_path / 'jsrt.mat', highest).values():
        assert images.dtype == np.uint8 and images.tolist() == [[[0, 51], [102, 255]]]
        assert masks.dtype == bool and masks.tolist() == [[[True, False], [False, False]]]


X, Y = np.full((2, 4, 4), 0.5), np.ones((2, 4, 4, 2))


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        (arrays_of(X * 400, Y), r'values of x_train in \[0, 1\], found 200 to 200 .* by --mat-max'),
        (arrays_of(-X, Y), r'in \[0, 1\], found -0\.5 to -0\.5'),
        (arrays_of(X * np.nan, Y), r'in \[0, 1\], found nan'),
        (arrays_of(X, 2 * Y), r'expected 0 and 1 in y_train, found 2'),
        (arrays_of(X, Y[..., :1]), r'y_train \(N, H, W, 2 or more\), found \(2, 4, 4\) and'),
        (arrays_of(X[:1], Y), r'found \(1, 4, 4\) and \(2, 4, 4, 2\)'),
        ({'x_train': X, 'y_train': Y}, r'expected an array x_val, found x_train, y_train; use'),
        ({'a': X}, r'expected an array x_train, found a; use'),
    ],
)
@pytest.mark.filterwarnings('ignore:All-NaN')
def test_mistakes_in_jsrt_mat(arrays, message, tmp_path):
    savemat(tmp_path / 'jsrt.mat', arrays)
    with pytest.raises(UserError, match=message) as caught:
        jsrt.read_mat(tmp_path / 'jsrt.mat', None)
    assert str(caught.value).startswith(f'{tmp_path}/jsrt.mat: ')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('share', [0.0, 0.001, 0.5, 0.99])
def test_damaged_jsrt_mat(matlab, share, tmp_path):
    data = (matlab / 'jsrt.mat').read_bytes()
    (tmp_path / 'jsrt.mat').write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r'jsrt\.mat: expected a'):
        jsrt.read_mat(tmp_path / 'jsrt.mat', None)


def test_hdf5_is_told_apart(tmp_path):
    (tmp_path / 'jsrt.mat').write_bytes(b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM')
    with pytest.raises(UserError, match=r'up to version 7, found version 7\.3; save it with -v7'):
        jsrt.read_mat(tmp_path / 'jsrt.mat', None)


def test_same_bytes_again(images, prepared, tmp_path, cli, tree):
    code, out, err = cli(jsrt.main, images, tmp_path / 'out', '--size', 24, '--labelled', 3)
    assert code == 0 and out.startswith(f'{tmp_path}/out: train 9 images of 9 patients; val 1 ')
    assert re.fullmatch(r'note: train 9, val 1, test 10 cases; the whole set gives .*\n', err)
    assert tree(tmp_path / 'out') == tree(prepared)
    info = json.loads((prepared / 'dataset_info.json').read_text())
    assert info['classes'] == ['background', 'lung'] and info['cls_classes'] == []


def mask(name, values):
    def spoil(raw):
        Image.fromarray(values.astype(np.uint8)).save(raw / name)

    return spoil


SQUARE = np.zeros((24, 24))
SQUARE[4:9, 4:9] = 255

# id: (how the raw files are spoilt, further words, exit code, message)
MISTAKES = {
    'raw folder empty': (empty, (), 1, r'expected the downloaded files, found an empty folder'),
    'images missing': (
        remove('All247images'), (), 1,
        r'raw: expected images JPC\*\.IMG and masks of SCR, or jsrt\.mat, found phantom_info\.json',
    ),
    'masks missing': (
        remove('scratch/fold1/masks/left lung'), (), 1,
        r'JPCLN001\.IMG: expected a mask fold\*/masks/left lung/JPCLN001\.gif, found none; unpack',
    ),
    'image missing': (
        remove(IMG), (), 1,
        r'left lung/JPCLN003\.gif: expected an image JPCLN003\.IMG, found none; unpack the images',
    ),
    'image there twice': (
        copy(IMG, 'more/JPCLN003.IMG'), (), 1,
        r'more/JPCLN003\.IMG: expected one file per case, found another for JPCLN003 .*; remove',
    ),
    'lungs in two folds': (
        move(LEFT, LEFT.replace('fold1', 'fold2')), (), 1,
        r'JPCLN003\.gif: expected both lungs in one of the folders fold1 and fold2, found fold1, f',
    ),
    'masks out of the folds': (
        move('scratch/fold1', 'scratch/one'), (), 1, r'fold1 and fold2, found neither; restore',
    ),
    'image cut off': (
        cut_off(IMG), (), 1,
        r'JPCLN003\.IMG: expected a square of 16-bit words \(8388608 bytes in JSRT\), found 2304 b',
    ),
    'image of no bytes': (write_bytes(IMG, b''), (), 1, r'JPCLN003\.IMG: .*, found 0 bytes'),
    'little-endian words': (
        write_bytes(IMG, np.full(SIZE * SIZE, 4000, '<u2').tobytes()), (), 1,
        r'JPCLN003\.IMG: expected big-endian numbers of 12 bits, 0 to 4095, found 40975; use',
    ),
    'mask cut off': (
        cut_off(LEFT), (), 1, r'JPCLN003\.gif: expected a whole GIF file, found it damaged or cut',
    ),
    'mask is a web page': (
        write_bytes(LEFT, b'<html>'), (), 1, r'JPCLN003\.gif: .* found content that is no image',
    ),
    'unknown mask value': (
        mask(LEFT, SQUARE // 2), (), 1, r'gif: expected mask values 0, 255, found 127 in 25 pixels',
    ),
    'empty mask': (
        mask(LEFT, 0 * SQUARE), (), 1, r'JPCLN003\.gif: expected a lung, found no pixel of it; use',
    ),
    'masks of two sizes': (
        mask(LEFT, SQUARE[:20]), (), 1,
        r'right lung/JPCLN003\.gif: expected the size of the other lung, 24x20, found 24x24; use',
    ),
    'both forms': (
        write_bytes('jsrt.mat', b'x'), (), 1,
        r'raw: expected one jsrt\.mat or the raw images, found more; keep one',
    ),
    'one fold alone': (
        lambda raw: [
            path.unlink()
            for path in list(raw.rglob('*.IMG')) + list(raw.rglob('*.gif'))
            if int(path.stem[-1]) % 2 == 0
        ], (), 1, r"jsrt: expected at least one case in every split, found none in 'test'",
    ),
    'as many labels as images': (nothing, ('--labelled', 9), 1, r'from 1 to 8, .*, found 9'),
    'size out of range': (nothing, ('--size', 8), 2, r'--size: expected 16 to 4096, got 8'),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(mistake, raw, tmp_path, cli):
    spoil, words, code, message = MISTAKES[mistake]
    spoil(raw)
    out = tmp_path / 'out'
    check(cli(jsrt.main, raw, out, *words), code, message, (out, tmp_path / 'out.partial'))
