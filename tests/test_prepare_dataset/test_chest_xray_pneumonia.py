import json
import re
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from mmjoint.utils.io import sha256_file

from .scripts import chest_xray_pneumonia, make_phantoms
from .test_mistakes import check, copy, cut_off, empty, move, nothing, remove, write_bytes

WORDS = ('--size', 32, '--labelled', 5, 12)


@pytest.fixture(scope='module')
def phantom(tmp_path_factory):
    """Sixty images in the raw layout; read only."""
    root = tmp_path_factory.mktemp('phantoms') / 'cxr'
    make_phantoms.make_phantoms('chest_xray_pneumonia', root, num_cases=60, seed=3, size=48)
    return root


@pytest.fixture
def raw(phantom, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(phantom, tmp_path / 'raw')


@pytest.fixture(scope='module')
def prepared(phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp('prepared') / 'cxr'
    chest_xray_pneumonia.prepare(phantom, out, size=32, labelled=(5, 12))
    return out


def rows_of(out):
    return {
        path.stem: json.loads(path.read_text()) for path in sorted((out / 'annotations').iterdir())
    }


def patients(rows):
    return {row['patient_id'] for row in rows}


@pytest.mark.parametrize(
    ('stem', 'label', 'expected'),
    [
        ('person1_bacteria_1', 1, ('person1', 'bacteria', True)),
        ('person1_virus_6', 1, ('person1', 'virus', True)),
        ('person1180_virus_2010_1', 1, ('person1180', 'virus', True)),
        ('IM-0115-0001', 0, ('IM-0115', 'normal', True)),
        ('IM-0511-0001-0002', 0, ('IM-0511', 'normal', True)),
        ('NORMAL2-IM-0007-0001', 0, ('NORMAL2-IM-0007', 'normal', True)),
        ('BACTERIA-1008087-0001', 1, ('BACTERIA-1008087', 'bacteria', True)),
        ('VIRUS-1013-0002', 1, ('VIRUS-1013', 'virus', True)),
        ('NORMAL-28501-0001', 0, ('NORMAL-28501', 'normal', True)),
        ('scan7', 1, ('scan7', 'unknown', False)),
        ('scan7', 0, ('scan7', 'normal', False)),
    ],
)
def test_names(stem, label, expected):
    assert chest_xray_pneumonia.parse_name(stem, label) == expected


def test_splits_are_those_of_the_folders_and_disjoint_by_patient(phantom, prepared):
    rows = rows_of(prepared)
    truth = json.loads((phantom / 'phantom_info.json').read_text())['cases']
    of_folder = {
        folder: {
            case['file'].split('/')[-1][:-5]: case for case in truth if case['split'] == folder
        }
        for folder in ('train', 'val', 'test')
    }
    stems = {
        split: {row['img_path'].split('/')[-1][:-4] for row in part} for split, part in rows.items()
    }
    assert stems['train'] | stems['val'] == set(of_folder['train'])
    assert stems['test'] == set(of_folder['test'])
    assert stems['val_official'] == set(of_folder['val'])
    assert len(rows['val']) == round(len(of_folder['train']) / 10)
    main = [patients(rows[split]) for split in ('train', 'val', 'test', 'val_official')]
    assert sum(map(len, main)) == len(set().union(*main))
    assert len(patients(rows['train'])) < len(rows['train'])
    for number in (5, 12):
        labelled, rest = rows[f'labelled_{number}'], rows[f'unlabelled_{number}']
        assert len(labelled) == number
        assert not patients(labelled) & patients(rest)
        assert stems[f'labelled_{number}'] | stems[f'unlabelled_{number}'] == stems['train']
    assert stems['labelled_5'] < stems['labelled_12']
    for part in rows.values():
        for row in part:
            case = next(c for c in of_folder.values() if row['img_path'].split('/')[-1][:-4] in c)[
                row['img_path'].split('/')[-1][:-4]
            ]
            assert row['gt_label'] == case['pneumonia']
            assert row['patient_id'] == case['patient']
            assert row['kind'] == (case['kind'] or 'normal')


def test_images_are_those_of_pillows_first_steps(phantom, prepared):
    for row in rows_of(prepared)['test']:
        stem = row['img_path'].split('/')[-1][:-4]
        (path,) = phantom.rglob(f'{stem}.jpeg')
        with Image.open(path) as image:
            grey = image.convert('RGB').convert('L')
            assert row['ori_shape'] == [grey.height, grey.width]
            small = np.asarray(grey.resize((32, 32), Image.Resampling.BILINEAR))
        stored = cv2.imread(str(prepared / row['img_path']), cv2.IMREAD_UNCHANGED)
        assert stored.dtype == np.uint8 and np.array_equal(stored, small)
        assert row['domain'] == 'kermany' and row['spacing'] is None and 'seg_map_path' not in row


def test_dataset_info(prepared):
    info = json.loads((prepared / 'dataset_info.json').read_text())
    rows = rows_of(prepared)
    assert info['classes'] == [] and info['cls_classes'] == ['normal', 'pneumonia']
    assert info['phantom'] is True
    for split, part in rows.items():
        counted = info['splits'][split]
        assert counted['num_samples'] == len(part)
        assert counted['num_patients'] == len(patients(part))
        assert counted['cls_counts']['pneumonia'] == sum(row['gt_label'] for row in part)
        name = f'annotations/{split}.json'
        assert info['files'][name] == sha256_file(prepared / name)
    assert info['command'] == (
        'python prepare_dataset/chest_xray_pneumonia.py RAW_ROOT OUT_ROOT --size 32 '
        '--val-percent 10.0 --labelled 5 12 --seed 0'
    )


def test_same_bytes_again_and_other_splits_with_another_seed(
    phantom, prepared, tmp_path, cli, tree
):
    code, out, err = cli(chest_xray_pneumonia.main, phantom, tmp_path / 'out', *WORDS)
    assert code == 0 and out.startswith(f'{tmp_path}/out: train ')
    assert re.fullmatch(r'note: train 46, val 3, test 11 images .* train 5216, .*\n', err)
    assert tree(tmp_path / 'out') == tree(prepared)
    cli(chest_xray_pneumonia.main, phantom, tmp_path / 'two', *WORDS, '--seed', 1)
    one, two = rows_of(prepared), rows_of(tmp_path / 'two')
    assert one['test'] == two['test'] and one['labelled_5'] != two['labelled_5']


def test_second_copy_of_the_archive_is_read_once(raw, prepared, tmp_path, cli):
    shutil.copytree(raw / 'chest_xray', raw / 'chest_xray' / 'chest_xray')
    litter = raw / '__MACOSX' / 'chest_xray' / 'train' / 'NORMAL' / '._IM-0001-0001.jpeg'
    litter.parent.mkdir(parents=True)
    litter.write_bytes(b'x')
    code, _, err = cli(chest_xray_pneumonia.main, raw, tmp_path / 'out', *WORDS)
    assert code == 0 and '60 images are there twice with the same content: read once' in err
    assert rows_of(tmp_path / 'out') == rows_of(prepared)


def test_patients_in_two_official_folders_are_told_and_may_be_left_out(raw, tmp_path, cli):
    (source,) = list(raw.glob('chest_xray/test/PNEUMONIA/*.jpeg'))[:1]
    person = source.name.split('_')[0]
    shutil.copy(source, raw / 'chest_xray/train/PNEUMONIA' / f'{person}_virus_9999.jpeg')
    code, _, err = cli(chest_xray_pneumonia.main, raw, tmp_path / 'a', *WORDS)
    assert code == 0
    assert 'note: 1 patients by number (1 images) of the folder train are in val or test' in err
    code, _, err = cli(chest_xray_pneumonia.main, raw, tmp_path / 'b', *WORDS, '--strict-patients')
    assert code == 0 and 'by number' not in err
    for name, shared in (('a', True), ('b', False)):
        rows = rows_of(tmp_path / name)
        known = patients(rows['train']) | patients(rows['val'])
        assert (person in known) == shared
        assert person in patients(rows['test'])
        assert not patients(rows['train']) & patients(rows['val'])


def test_names_that_tell_no_patient(raw, tmp_path, cli):
    path = next(raw.glob('chest_xray/train/NORMAL/*.jpeg'))
    path.rename(path.with_name('scan7.jpeg'))
    code, _, err = cli(chest_xray_pneumonia.main, raw, tmp_path / 'out', *WORDS)
    assert code == 0 and '1 names do not tell the patient, e.g. scan7.jpeg' in err
    assert 'scan7' in patients(
        rows_of(tmp_path / 'out')['train'] + rows_of(tmp_path / 'out')['val']
    )


def first(raw, folder):
    return sorted((raw / 'chest_xray' / folder).iterdir())[0].relative_to(raw)


def at_first(folder, spoil):
    return lambda raw: spoil(first(raw, folder))(raw)


# id: (how the raw files are spoilt, further words, exit code, message)
MISTAKES = {
    'raw folder empty': (empty, (), 1, r'raw: expected the downloaded files, found an empty'),
    'test folder missing': (
        remove('chest_xray/test'), (), 1,
        r'raw: expected images \(\.jpeg\) in test/NORMAL, found none; below RAW_ROOT is chest_xray',
    ),
    'a class missing': (
        remove('chest_xray/train/PNEUMONIA'), (), 1, r'expected images \(\.jpeg\) in train/PNEUMO',
    ),
    'pneumonia among the normal ones': (
        lambda raw: move(
            name := first(raw, 'train/PNEUMONIA'), f'chest_xray/train/NORMAL/{name.name}'
        )(raw), (), 1,
        r'NORMAL/person\d+_\w+\.jpeg: expected an image of the class normal by its folder, found '
        r'one of the kind (bacteria|virus) by its name; restore',
    ),
    'normal one among the pneumonias': (
        lambda raw: move(
            name := first(raw, 'test/NORMAL'), f'chest_xray/test/PNEUMONIA/{name.name}'
        )(raw), (), 1, r'of the class pneumonia by its folder, found one of the kind normal by',
    ),
    'two images of one name': (
        lambda raw: copy(
            first(raw, 'train/PNEUMONIA'),
            f'more/train/NORMAL/{first(raw, "train/NORMAL").name}',
        )(raw), (), 1, r'more/train/NORMAL/\S+: expected one file per image, found another of this',
    ),
    'image cut off': (
        at_first('test/NORMAL', lambda name: cut_off(name, 0.7)), (), 1,
        r'jpeg: expected a whole JPEG file, found it damaged or cut off \(\d+ bytes\); download',
    ),
    'web page in place of an image': (
        at_first('val/PNEUMONIA', lambda name: write_bytes(name, b'<html>')), (), 1,
        r'jpeg: expected a whole JPEG file, found content that is no image; download',
    ),
    'no validation images': (
        nothing, ('--val-percent', 0.5), 1, r'--val-percent: expected a share that leaves images',
    ),
    'more labels than images': (
        nothing, ('--labelled', 5000), 1, r'--labelled: expected numbers from 1 to \d+, .* 5000',
    ),
    'no labels': (nothing, ('--labelled', 0), 2, r'--labelled: expected at least 1, got 0'),
}  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(mistake, raw, tmp_path, cli):
    spoil, words, code, message = MISTAKES[mistake]
    spoil(raw)
    out = tmp_path / 'out'
    ended = cli(chest_xray_pneumonia.main, raw, out, *(words or WORDS))
    check(ended, code, message, (out, tmp_path / 'out.partial'))
