"""Case records made up for the tests of the report."""

import numpy as np

from mmjoint.functional.calibration import calibration_bins
from mmjoint.functional.overlap import confusion_matrix
from mmjoint.utils.case_archive import CaseArchive
from mmjoint.visualization.drawing import encode_image

INFO = {
    'classes': ['background', 'rim', 'cup'],
    'cls_classes': ['healthy', 'ill <b>'],
    'palette': [[0, 0, 0], [250, 0, 0], [0, 0, 250]],
    'unions': {'disc': [1, 2]},
    'num_classes': 3,
    'ignore_index': 255,
    'empty_dice': 0.0,
    'empty_distance': 10.0,
    'uncertainty_bounds': {'vacuity': 1.0},
    'picture_measure': 'vacuity',
}


def make_case(index=0, **fields):
    case = {
        'img_path': f'images/c{index:02d}.jpg',
        'patient_id': f'p{index:02d}',
        'sample_idx': index,
        'gt_label': None,
        'pred_label': None,
        'pred_score': None,
        'cls_alpha': None,
        'cls_uncertainty': None,
        'dice': None,
        'assd': None,
        'num_pixels': None,
        'num_wrong_pixels': None,
        'has_foreground': None,
        'seg_uncertainty': None,
    }
    return case | fields


def class_fields(label, alpha):
    alpha = np.asarray(alpha, float)
    score = alpha / alpha.sum()
    return {
        'gt_label': label,
        'pred_label': int(score.argmax()),
        'pred_score': score.tolist(),
        'cls_alpha': alpha.tolist(),
        'cls_uncertainty': {'vacuity': float(len(alpha) / alpha.sum())},
    }


def mask_fields(dice, uncertainty):
    return {
        'dice': dict(rim=dice, cup=dice, disc=dice),
        'assd': dict(rim=2.0, cup=3.0, disc=None),
        'num_pixels': 16,
        'num_wrong_pixels': 4,
        'has_foreground': True,
        'seg_uncertainty': {'vacuity': {'mean': uncertainty, 'mean_foreground': uncertainty}},
    }


def make_archive(number=12, seed=0, with_class=True, with_mask=True, with_pictures=True):
    """Make cases; odd ones are ill; the later, the less certain and the worse."""
    rng = np.random.default_rng(seed)
    cases, pictures = [], {}
    tables = {
        'confusion': np.zeros((number, 3, 3), np.int64),
        'calibration': np.zeros((number, 3, 15)),
        'uncertainty/vacuity': np.zeros((number, 2, 50), np.int64),
    }
    for i in range(number):
        fields = {}
        if with_class:
            strength = 8.0 * (number - i) / number
            alpha = [1.0 + rng.random(), 1.0 + rng.random()]
            alpha[i % 2] += strength
            fields |= class_fields(i % 2, alpha)
        if with_mask:
            fields |= mask_fields(1 - 0.5 * i / number, 0.1 + 0.8 * i / number)
            gt = rng.integers(0, 3, (4, 4))
            pred = np.where(rng.random((4, 4)) < 0.7, gt, 0)
            tables['confusion'][i] = confusion_matrix(pred, gt, 3)
            tables['calibration'][i] = calibration_bins(rng.random(16), (pred == gt).ravel())
            tables['uncertainty/vacuity'][i, 0, 5] = (pred == gt).sum()
            tables['uncertainty/vacuity'][i, 1, 20] = (pred != gt).sum()
        cases.append(make_case(i, **fields))
        if with_pictures:
            pictures[i] = {'image': encode_image(np.full((4, 4, 3), 9, np.uint8), '.jpg')}
            if with_mask:
                pictures[i]['gt'] = encode_image(gt.astype(np.uint8))
                pictures[i]['pred'] = encode_image(pred.astype(np.uint8))
                pictures[i]['uncertainty'] = encode_image(np.full((4, 4), 128, np.uint8))
    info = INFO if with_mask else INFO | {'uncertainty_bounds': {}, 'picture_measure': None}
    return CaseArchive(info, cases, tables if with_mask else {}, pictures)
