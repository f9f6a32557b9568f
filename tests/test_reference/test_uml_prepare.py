"""REFUGE and I-SPY1 as the UML repository prepares and loads them."""

import json
import re

import cv2
import nibabel
import numpy as np
import pytest

from mmjoint.phantoms.common import write_sheet

from ..test_prepare_dataset.scripts import ispy1, refuge
from .loader import reference

SPLIT_OF = {'Train': 'train', 'Valid': 'val', 'Test': 'test'}


@pytest.fixture(scope='module')
def refuge_arrays():
    return reference('uml', 'refuge_preprocess')


def refuge_cases(arrays):
    """(name of the case in the file, split, id, label)."""
    cases = []
    for array in arrays:
        if match := re.fullmatch(r'((Train|Valid|Test)\d+)_name', array):
            case, split = match.groups()
            case_id, label, _ = str(arrays[array]).split('_')
            cases.append((case, split, case_id, int(label)))
    assert cases
    return cases


def source_image(arrays, case):
    """The photograph, blue first; upstream's is stored for some cases, others do not need it."""
    if f'{case}_source_image_rgb_uint8' in arrays:
        return arrays[f'{case}_source_image_rgb_uint8'][..., ::-1]
    return np.full((*arrays[f'{case}_raw_mask'].shape, 3), 90, np.uint8)


@pytest.fixture(scope='module')
def prepared_refuge(refuge_arrays, tmp_path_factory):
    """The cases of the file in the layout that upstream reads, prepared by our script."""
    root = tmp_path_factory.mktemp('refuge')
    cases = refuge_cases(refuge_arrays)
    splits = sorted({split for _, split, _, _ in cases})
    for split in splits:
        top = root / 'raw' / split
        masks = top / f'{split}400-GT' / 'Disc_Cup_Masks'
        masks.mkdir(parents=True)
        (top / f'{split}400').mkdir()
        rows = []
        for case, _, case_id, label in (row for row in cases if row[1] == split):
            # A bitmap under the official name: what was decoded stays free of a second JPEG.
            image = cv2.imencode('.bmp', source_image(refuge_arrays, case))[1]
            (top / f'{split}400' / f'{case_id}.jpg').write_bytes(image.tobytes())
            cv2.imwrite(str(masks / f'{case_id}.bmp'), refuge_arrays[f'{case}_raw_mask'])
            rows.append((f'{case_id}.jpg', label))
        write_sheet(
            top / f'{split}400-GT' / 'Glaucoma_label_and_Fovea_location.xlsx',
            ('ImgName', 'Glaucoma Label'),
            rows,
        )
    refuge.prepare(
        root / 'raw',
        root / 'out',
        size=int(refuge_arrays['image_size']),
        splits=[SPLIT_OF[split] for split in splits],
    )
    return root / 'out'


def test_refuge_masks(refuge_arrays):
    size = int(refuge_arrays['image_size'])
    for case, *_ in refuge_cases(refuge_arrays):
        raw = refuge_arrays[f'{case}_raw_mask']
        resized = refuge.resize_mask(raw, size, 'bilinear')
        assert np.array_equal(resized, refuge_arrays[f'{case}_resized_mask']), case
        ids = refuge.mask_to_ids(resized)
        assert np.array_equal(ids[None], refuge_arrays[f'{case}_label_map']), case
        exact = refuge.mask_to_ids(refuge.resize_mask(raw, size, 'nearest-exact'))
        assert np.array_equal(exact, refuge_arrays[f'{case}_label_map_if_nearest_exact']), case
        # The mode that is not offered, because it shifts.
        shifted = cv2.resize(raw, (size, size), interpolation=cv2.INTER_NEAREST)
        assert np.array_equal(
            refuge.mask_to_ids(shifted), refuge_arrays[f'{case}_label_map_if_nearest']
        ), case


def test_refuge_prepared_files(refuge_arrays, prepared_refuge):
    compared = 0
    for case, split, case_id, label in refuge_cases(refuge_arrays):
        rows = json.loads((prepared_refuge / 'annotations' / f'{SPLIT_OF[split]}.json').read_text())
        (record,) = (row for row in rows if row['patient_id'] == case_id)
        assert record['gt_label'] == label == int(refuge_arrays[f'{case}_cls_label'])
        ids = cv2.imread(str(prepared_refuge / record['seg_map_path']), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(ids[None], refuge_arrays[f'{case}_label_map'])
        if f'{case}_image_chw_uint8' in refuge_arrays:
            image = cv2.imread(str(prepared_refuge / record['img_path']))[..., ::-1]
            expected = refuge_arrays[f'{case}_image_chw_uint8'].astype(int)
            assert np.abs(image.transpose(2, 0, 1) - expected).max() <= 3
            compared += 1
    assert compared


@pytest.fixture(scope='module')
def ispy_arrays():
    return reference('uml', 'ispy_preprocess')


def ispy_cases(arrays):
    """Names of the volumes, in the order of the file."""
    return [name[: -len('_mask_volume')] for name in arrays if name.endswith('_mask_volume')]


def test_ispy_slices(ispy_arrays):
    keep = int(ispy_arrays['keep'])
    for case in ispy_cases(ispy_arrays):
        chosen = ispy1.choose_slices(ispy_arrays[f'{case}_mask_volume'], keep)
        assert chosen == ispy_arrays[f'{case}_slices_in_save_order'].tolist(), case


def test_ispy_prepared_files(ispy_arrays, tmp_path):
    names = [str(name) for name in ispy_arrays['prepared_order_names']]
    patients = list(dict.fromkeys(int(name.split('_')[1]) for name in names))
    example = re.fullmatch(r'ispy_(\d+)_(\d)_s(\d+)_img\.jpg', str(ispy_arrays['example_name']))
    example_patient, _, example_slice = map(int, example.groups())
    cases = ispy_cases(ispy_arrays)
    assert len(cases) == len(patients)
    records = []
    for patient, case in zip(patients, cases, strict=True):
        mask = ispy_arrays[f'{case}_mask_volume']
        image = np.random.default_rng(patient).normal(300, 50, mask.shape).astype(np.float32)
        if patient == example_patient:
            image[:, :, example_slice] = ispy_arrays['example_source_slice']
        paths = []
        for kind, data in (('image', image), ('mask', mask)):
            paths.append(tmp_path / f'{case}_{kind}.nii')
            nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), paths[-1])
        label = int(ispy_arrays[f'{case}_pcr'])
        records += ispy1.convert_case(
            ispy1.Case(patient, *paths, label), 'train', tmp_path, keep=int(ispy_arrays['keep'])
        )
    records.sort(key=ispy1.reading_order)
    assert [
        f'ispy_{row["patient_id"]}_{row["gt_label"]}_s{row["slice"]}_img.jpg' for row in records
    ] == names

    (record,) = (
        row
        for row in records
        if row['patient_id'] == str(example_patient) and row['slice'] == example_slice
    )
    image = cv2.imread(str(tmp_path / record['img_path'])).transpose(2, 0, 1)
    assert image.shape == ispy_arrays['example_image_after_jpeg'].shape
    assert np.abs(image - ispy_arrays['example_image_after_jpeg'].astype(int)).max() <= 4
    ids = cv2.imread(str(tmp_path / record['seg_map_path']), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(ids, ispy_arrays['example_seg_gt'])
    assert np.array_equal(ids, ispy_arrays['example_true_mask_transposed'])
