"""A user's mistakes: one line that tells what to do, the exit code, and nothing half-written."""

import re
import shutil
import struct

import cv2
import nibabel
import numpy as np
import pytest

from mmjoint.phantoms.common import write_sheet

from .scripts import ispy1, make_phantoms, refuge

TRAIN_MASKS = 'Annotation-Training400/Disc_Cup_Masks'
TEST_SHEET = 'REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx'
VAL_SHEET = 'REFUGE-Validation400-GT/Fovea_locations.xlsx'
VAL_MASK = 'REFUGE-Validation400-GT/Disc_Cup_Masks/V0002.bmp'
VOLUME = 'Dataset ISPY/ISPY_1002/DCEMRI_1.nii'
MASK = 'Tumor_segmentation_new/ISPY_1002_tumor_mask.nii'


def remove(name):
    def spoil(raw):
        path = raw / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def empty(raw):
    shutil.rmtree(raw)
    raw.mkdir()


def cut_off(name, share=0.5):
    def spoil(raw):
        data = (raw / name).read_bytes()
        (raw / name).write_bytes(data[: int(share * len(data))])

    return spoil


def write_bytes(name, data):
    def spoil(raw):
        (raw / name).write_bytes(data)

    return spoil


def image(name, values):
    """Replace an image file by an array."""

    def spoil(raw):
        cv2.imwrite(str(raw / name), values)

    return spoil


def volume(name, change):
    """Replace a volume by ``change`` of it."""

    def spoil(raw):
        data = np.asarray(nibabel.load(raw / name).dataobj).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(change(data), np.eye(4)), raw / name)

    return spoil


def with_nan(data):
    data[3, 4, 5] = np.nan
    return data


def without_all_but(slices):
    def change(data):
        data[:, :, : len(data) // 2 - slices] = 0
        data[:, :, len(data) // 2 :] = 0
        return data

    return change


def sheet(name, columns, rows):
    def spoil(raw):
        write_sheet(raw / name, columns, rows)

    return spoil


def val_rows(*labels):
    return [(n, f'V{n:04d}.jpg', 1.0, 1.0, label) for n, label in enumerate(labels, 1)]


VAL_COLUMNS = ('ID', 'ImgName', 'Fovea_X', 'Fovea_Y', 'Glaucoma Label')


def copy(source, target):
    def spoil(raw):
        (raw / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(raw / source, raw / target)

    return spoil


def move(source, target):
    def spoil(raw):
        (raw / target).parent.mkdir(parents=True, exist_ok=True)
        (raw / source).rename(raw / target)

    return spoil


def not_a_folder(raw):
    shutil.rmtree(raw)
    raw.write_bytes(b'PK\3\4')


def wrong_spacing(raw):
    data = bytearray((raw / VOLUME).read_bytes())
    struct.pack_into('<f', data, 80, float('nan'))  # pixdim[1]
    (raw / VOLUME).write_bytes(bytes(data))


def nothing(raw):
    pass


# id: (how the raw files are spoilt, further words, exit code, message)
REFUGE = {
    'raw folder missing': (
        shutil.rmtree, (), 1,
        r'raw: expected the folder of the downloaded files, found nothing there; check the path',
    ),
    'raw folder is an archive': (
        not_a_folder, (), 1, r'raw: expected a folder, found a file; unpack it',
    ),
    'raw folder empty': (
        empty, (), 1, r'raw: expected the downloaded files, found an empty folder; unpack',
    ),
    'test annotations missing': (
        remove('REFUGE-Test-GT'), (), 1,
        r'expected the folder REFUGE-Test-GT \(or Test400-GT\) for the test split, found '
        r'Annotation-Training400, .*--splits',
    ),
    'both layouts of one split': (
        copy(VAL_MASK, 'Valid/Valid400-GT/Disc_Cup_Masks/V0002.bmp'), (), 1,
        r'one of the folders REFUGE-Validation400-GT and Valid400-GT .* found both; keep one',
    ),
    'photographs missing': (
        remove('Training400'), (), 1,
        r'expected photographs \(\.jpg\) in a folder Training400 for the train split, found none',
    ),
    'masks missing': (
        remove(TRAIN_MASKS), (), 1,
        r'expected masks \(\.bmp\) in Annotation-Training400/Disc_Cup_Masks .*, found none; unpack',
    ),
    'photograph without mask': (
        remove(VAL_MASK), (), 1,
        r'V0002\.jpg: expected a mask V0002\.bmp in REFUGE-Validation400-GT/Disc_Cup_Masks, found',
    ),
    'mask without photograph': (
        remove('REFUGE-Validation400/V0003.jpg'), (), 1,
        r'V0003\.bmp: expected a photograph V0003\.jpg in REFUGE-Validation400, found none',
    ),
    'photograph there twice': (
        copy('Test400/T0001.jpg', 'copy/Test400/T0001.jpg'), (), 1,
        r'T0001\.jpg: expected one file per case, found another for T0001 .*; remove one',
    ),
    'photograph cut off': (
        cut_off('Test400/T0002.jpg'), (), 1,
        r'Test400/T0002\.jpg: expected a whole JPG file, found it cut off after \d+ bytes',
    ),
    'mask cut off': (
        cut_off(VAL_MASK, 0.9), (), 1,
        r'V0002\.bmp: expected a whole BMP file, found it cut off after \d+ bytes; download',
    ),
    'photograph of no bytes': (
        write_bytes('Test400/T0002.jpg', b''), (), 1, r'T0002\.jpg: .* cut off after 0 bytes',
    ),
    'web page under the name of a photograph': (
        write_bytes('Test400/T0002.jpg', b'<html>'), (), 1,
        r'T0002\.jpg: expected a whole JPG file, found content that is no image; download',
    ),
    'unknown mask value': (
        image(VAL_MASK, np.full((74, 74), 200, np.uint8)), (), 1,
        r'V0002\.bmp: expected mask values 0, 128, 255, found 200 in 5476 pixels; use the original',
    ),
    'mask of another size': (
        image(VAL_MASK, np.full((74, 73), 255, np.uint8)), (), 1,
        r'V0002\.bmp: expected the size of its image, 74x74, found 73x74; use the original files',
    ),
    'sheet missing': (
        remove(TEST_SHEET), (), 1,
        r'expected the sheet REFUGE-Test-GT/Glaucoma_label_and_Fovea_location\.xlsx .* found no',
    ),
    'sheet damaged': (
        cut_off(VAL_SHEET), (), 1,
        r'Fovea_locations\.xlsx: expected an Excel file \(\.xlsx\), found content that cannot be',
    ),
    'sheet is a web page': (
        write_bytes(VAL_SHEET, b'<html>'), (), 1, r'Fovea_locations\.xlsx: expected an Excel file',
    ),
    'label column missing': (
        sheet(VAL_SHEET, VAL_COLUMNS[:4], [(1, 'V0001.jpg', 1, 1)]), (), 1,
        r"Fovea_locations\.xlsx: expected a column 'Glaucoma Label', found 'ID', 'ImgName'",
    ),
    'sheet without rows': (
        sheet(VAL_SHEET, VAL_COLUMNS, []), (), 1,
        r'Fovea_locations\.xlsx: expected a row per case below the header, found none',
    ),
    'label neither 0 nor 1': (
        sheet(VAL_SHEET, VAL_COLUMNS, val_rows(0, 2, 1)), (), 1,
        r"xlsx, row 3, column 'Glaucoma Label': expected the label 0 or 1, found 2; correct",
    ),
    'label empty': (
        sheet(VAL_SHEET, VAL_COLUMNS, val_rows(0, None, 1)), (), 1,
        r"row 3, column 'Glaucoma Label': expected the label 0 or 1, found an empty cell",
    ),
    'image name empty': (
        sheet(VAL_SHEET, VAL_COLUMNS, [(1, None, 1, 1, 0)]), (), 1,
        r'row 2: expected an image name in the column ImgName, found an empty cell',
    ),
    'case listed twice': (
        sheet(VAL_SHEET, VAL_COLUMNS, val_rows(0, 0, 1) + val_rows(1)), (), 1,
        r'row 5: expected each image once, found V0001 again; correct the sheet',
    ),
    'case not listed': (
        sheet(VAL_SHEET, VAL_COLUMNS, val_rows(0, 1)), (), 1,
        r'V0003\.jpg: expected a row V0003 in Fovea_locations\.xlsx, found none',
    ),
    'listed case missing': (
        sheet(VAL_SHEET, VAL_COLUMNS, val_rows(0, 1, 0, 0)), (), 1,
        r'expected a photograph V0004\.jpg in REFUGE-Validation400 because Fovea_locations\.xlsx',
    ),
    'folder contradicts the mask folder': (
        move(f'{TRAIN_MASKS}/Glaucoma/g0001.bmp', f'{TRAIN_MASKS}/Non-Glaucoma/g0001.bmp'), (), 1,
        r'g0001\.jpg: expected one label for g0001, found contradictory ones',
    ),
    'unknown label folder': (
        move('Training400/Glaucoma', 'Training400/Suspect'), (), 1,
        r"g0001\.jpg: expected it in a folder Glaucoma or Non-Glaucoma, found 'Suspect'; restore",
    ),
    'size too small': (nothing, ('--size', 4), 2, r'--size: expected 16 to 4096, got 4'),
    'size no number': (nothing, ('--size', 'big'), 2, r"--size: invalid int value: 'big'"),
    'unknown mask mode': (
        nothing, ('--mask-resize', 'nearest'), 2, r"invalid choice: 'nearest'.*nearest-exact",
    ),
    'unknown split': (nothing, ('--splits', 'train', 'valid'), 2, r"invalid choice: 'valid'"),
    'misspelt option': (nothing, ('--sise', 64), 2, r'unrecognized arguments: --sise 64'),
}  # fmt: skip

ISPY1 = {
    'sheet missing': (
        remove('outcome_new.xlsx'), (), 1,
        r'raw: expected one file outcome_new\.xlsx, found Dataset ISPY, Tumor_segmentation_new',
    ),
    'volumes missing': (
        remove('Dataset ISPY'), (), 1,
        r'expected volumes "Dataset ISPY/ISPY_<id>/DCEMRI_1\.nii", found Tumor_segmentation_new',
    ),
    'mask missing': (
        remove(MASK), (), 1,
        r'expected ISPY_1002_tumor_mask\.nii because outcome_new\.xlsx lists patient 1002',
    ),
    'volume cut off': (
        cut_off(VOLUME), (), 1,
        r'DCEMRI_1\.nii: expected a whole NIfTI file, found one cut off or damaged \(\d+ bytes\)',
    ),
    'volume is text': (
        write_bytes(VOLUME, b'<html>'), (), 1, r'DCEMRI_1\.nii: expected a whole NIfTI file',
    ),
    'NaN in a volume': (
        volume(VOLUME, with_nan), (), 1,
        r'DCEMRI_1\.nii: expected finite values, found NaN or infinity in 1 of 24576 voxels',
    ),
    'NaN in the spacing': (
        wrong_spacing, (), 1,
        r'DCEMRI_1\.nii: expected a positive voxel spacing, found \(nan, 5\.6, 5\.0\) mm; correct',
    ),
    'volume of four axes': (
        volume(VOLUME, lambda data: np.stack([data, data], -1)), (), 1,
        r'DCEMRI_1\.nii: expected a volume of 3 axes, found the shape \(32, 32, 24, 2\)',
    ),
    'mask of another shape': (
        volume(MASK, lambda data: data[:, :, 1:]), (), 1,
        r'mask\.nii: expected the shape of its volume, \(32, 32, 24\), found \(32, 32, 23\)',
    ),
    'mask of many values': (
        volume(MASK, lambda data: data * np.arange(1, 25)), (), 1,
        r'mask\.nii: expected 0 and one positive value \(tumour\), found 0, \d',
    ),
    'mask without tumour': (
        volume(MASK, lambda data: data * 0), (), 1, r'mask\.nii: .* found only 0; use the original',
    ),
    'too few slices with tumour': (
        volume(MASK, without_all_but(4)), (), 1,
        r'mask\.nii: expected 10 slices with tumour around the largest area, found 4; lower --keep',
    ),
    'column missing': (
        sheet('outcome_new.xlsx', ('SUBJECTID', 'RCB'), [(1001, 0)]), (), 1,
        r"outcome_new\.xlsx: expected a column 'PCR', found 'SUBJECTID', 'RCB'",
    ),
    'label empty': (
        sheet('outcome_new.xlsx', ('SUBJECTID', 'PCR'), [(1001, None)]), (), 1,
        r"row 2, column 'PCR': expected the label 0 or 1, found an empty cell; correct",
    ),
    'patient number no number': (
        sheet('outcome_new.xlsx', ('SUBJECTID', 'PCR'), [('left', 0)]), (), 1,
        r"row 2: expected a whole number in the column SUBJECTID, found 'left'",
    ),
    'patient listed twice': (
        sheet('outcome_new.xlsx', ('SUBJECTID', 'PCR'), [(1001, 0), (1001.0, 0)]), (), 1,
        r'row 3: expected each patient once, found 1001 again; correct the sheet',
    ),
    'patient there twice': (
        copy(VOLUME, 'copy/ISPY_1002/DCEMRI_1.nii'), (), 1,
        r'expected one volume per patient, found another for 1002',
    ),
    'too few patients for three splits': (
        sheet('outcome_new.xlsx', ('SUBJECTID', 'PCR'), [(1001, 0), (1002, 0), (1003, 0)]), (), 1,
        r'expected at least 3 patients with PCR = 1 \(one per split\), found 0; give more cases',
    ),
    'nobody left for training': (
        nothing, ('--fractions', 0.1, 1, 1), 1,
        r'--fractions: expected a share that leaves patients for train, found 0\.1 1 1 for',
    ),
    'negative fraction': (
        nothing, ('--fractions', -1, 1, 1), 2, r'--fractions: expected at least 0\.001, got -1',
    ),
    'no slices': (nothing, ('--keep', 0), 2, r'--keep: expected at least 1, got 0'),
}  # fmt: skip


def check(ended, expected_code, message, left_over):
    code, _, err = ended
    assert code == expected_code, err
    last = err.strip().splitlines()[-1]
    assert re.search(message, last), last
    assert 'Traceback' not in err and 'run again with --traceback' not in err
    if expected_code == 1:
        assert last.startswith('error: ') and len(re.findall('^error: ', err, re.MULTILINE)) == 1
    assert [path for path in left_over if path.exists()] == []


@pytest.mark.parametrize('mistake', REFUGE)
def test_refuge(mistake, raw_refuge, tmp_path, cli):
    spoil, words, code, message = REFUGE[mistake]
    spoil(raw_refuge)
    out = tmp_path / 'out'
    ended = cli(refuge.main, raw_refuge, out, '--size', 32, *words)
    check(ended, code, message, (out, tmp_path / 'out.partial'))


@pytest.mark.parametrize('mistake', ISPY1)
def test_ispy1(mistake, raw_ispy1, tmp_path, cli):
    spoil, words, code, message = ISPY1[mistake]
    spoil(raw_ispy1)
    out = tmp_path / 'out'
    ended = cli(ispy1.main, raw_ispy1, out, *words)
    check(ended, code, message, (out, tmp_path / 'out.partial'))


def test_several_mistakes_are_told_together(raw_refuge, tmp_path, cli):
    for name in ('T0001', 'T0002', 'T0003'):
        cut_off(f'Test400/{name}.jpg')(raw_refuge)
    ended = cli(refuge.main, raw_refuge, tmp_path / 'out')
    check(ended, 1, r'T0001\.jpg: .* \| .*T0002\.jpg: .* and 1 more like these', [tmp_path / 'out'])


def test_earlier_result_is_not_replaced_unasked(raw_refuge, tmp_path, cli, tree):
    words = (raw_refuge, tmp_path / 'out', '--size', 32)
    assert cli(refuge.main, *words)[0] == 0
    before = tree(tmp_path / 'out')
    message = r'out: expected no earlier result, found one \(dataset_info\.json\); add --overwrite'
    check(cli(refuge.main, *words), 1, message, [tmp_path / 'out.partial'])
    # Asked to replace it, a mistake in the raw files still keeps it.
    cut_off('Test400/T0002.jpg')(raw_refuge)
    check(cli(refuge.main, *words, '--overwrite'), 1, 'cut off', [tmp_path / 'out.partial'])
    assert tree(tmp_path / 'out') == before


def test_foreign_folder_is_never_replaced(raw_refuge, tmp_path, cli):
    (tmp_path / 'thesis').mkdir()
    (tmp_path / 'thesis' / 'chapter.tex').write_text('precious')
    ended = cli(refuge.main, raw_refuge, tmp_path / 'thesis', '--overwrite')
    message = r'thesis: .* found a folder without dataset_info\.json; it is not replaced'
    check(ended, 1, message, [tmp_path / 'thesis.partial'])
    assert (tmp_path / 'thesis' / 'chapter.tex').read_text() == 'precious'
    ended = cli(make_phantoms.main, 'refuge', tmp_path / 'thesis', '--overwrite')
    check(ended, 1, r'found a folder without phantom_info\.json', [tmp_path / 'thesis.partial'])


def test_output_is_a_file(raw_refuge, tmp_path, cli):
    (tmp_path / 'out').write_text('precious')
    ended = cli(refuge.main, raw_refuge, tmp_path / 'out', '--overwrite')
    check(ended, 1, r'out: expected a folder or nothing, found a file', [tmp_path / 'out.partial'])


@pytest.mark.parametrize('out', ['raw', 'raw/prepared', '.'])
def test_output_and_raw_folder_lie_in_each_other(raw_refuge, tmp_path, cli, out, tree):
    before = tree(raw_refuge)
    ended = cli(refuge.main, raw_refuge, tmp_path / out, '--overwrite')
    check(ended, 1, r'expected a folder apart from RAW_ROOT, found one inside the other', [])
    assert tree(raw_refuge) == before


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (
            ('isic', 'OUT'),
            r"invalid choice: 'isic' \(choose from '?refuge'?, '?ispy1'?, '?isic2016'?, .*\)",
        ),
        (('refuge',), r'the following arguments are required: RAW_ROOT'),
        (('refuge', 'OUT', '--num-cases', 0), r'--num-cases: expected at least 1, got 0'),
        (('refuge', 'OUT', '--seed', -1), r'--seed: expected 0 to .*, got -1'),
        (('refuge', 'OUT', '--size', 8), r'--size: expected 16 to 4096, got 8'),
        (('refuge', 'OUT', '--glaucoma-share', 2), r'--glaucoma-share: expected 0 to 1, got 2'),
        (('refuge', 'OUT', '--split-ratio', 1, 1), r'--split-ratio: expected 3 arguments'),
        (('ispy1', 'OUT', '--glaucoma-share', 0.5), r'unrecognized arguments: --glaucoma-share'),
        (('mnms', 'OUT', '--num-frames', 1), r'--num-frames: expected 2 to 100, got 1'),
        (('ispy1', 'OUT', '--pcr-share', 'few'), r"--pcr-share: invalid float value: 'few'"),
    ],
)
def test_make_phantoms(words, message, tmp_path, cli):
    words = [tmp_path / 'out' if word == 'OUT' else word for word in words]
    check(cli(make_phantoms.main, *words), 2, message, (tmp_path / 'out', tmp_path / 'out.partial'))
