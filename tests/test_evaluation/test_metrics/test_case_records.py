import json
import math

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.structures import PixelData

from mmjoint.evaluation.metrics import CaseRecords
from mmjoint.functional.aggregation import AGGREGATIONS
from mmjoint.structures import VolumeData
from mmjoint.utils.case_archive import read_case_archive

from ..samples import make_sample

META = dict(classes=('background', 'rim', 'cup'), cls_classes=('healthy', 'ill'))


def run(folder, samples, images=None, meta=META, **options):
    metric = CaseRecords(out_dir=str(folder), **options)
    metric.dataset_meta = meta
    for index, sample in enumerate(samples):
        batch = None if images is None else {'inputs': [images[index]]}
        metric.process(batch, [sample.to_dict()])
    assert metric.evaluate(len(samples)) == {}
    return read_case_archive(folder)


GT = np.array([[0, 0, 1, 1], [0, 0, 1, 2]])
PRED = np.array([[0, 1, 1, 1], [0, 0, 2, 2]])


def test_a_case_worked_out_by_hand(tmp_path):
    sample = make_sample(
        gt_label=1,
        cls_alpha=[3.0, 1.0],
        gt_map=GT,
        pred_map=PRED,
        vacuity_map=np.where(GT == PRED, 0.1, 0.9),
        sample_idx=0,
        patient_id='p1',
    )
    archive = run(tmp_path, [sample], unions=dict(disc=(1, 2)))
    (case,) = archive.cases
    assert case['patient_id'] == 'p1' and case['img_path'] == 'a.png'
    assert (case['gt_label'], case['pred_label']) == (1, 0)
    assert case['pred_score'] == [0.75, 0.25] and case['cls_alpha'] == [3.0, 1.0]
    assert case['cls_uncertainty']['vacuity'] == 0.5  # 2 classes / strength 4
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert case['cls_uncertainty']['predictive_entropy'] == pytest.approx(entropy)
    # rim: 2 of 3 and 3 pixels in common; cup: 1 of 2 and 1; disc: 4 of 5 and 4.
    assert case['dice'] == {'rim': 4 / 6, 'cup': 2 / 3, 'disc': 8 / 9}
    assert (case['num_pixels'], case['num_wrong_pixels']) == (8, 2)
    # The map is smaller than a patch and everything is close to a border.
    assert list(case['seg_uncertainty']['vacuity']) == list(AGGREGATIONS)
    assert case['seg_uncertainty']['vacuity'] == {
        'mean': pytest.approx((6 * 0.1 + 2 * 0.9) / 8),
        'mean_foreground': pytest.approx((3 * 0.1 + 2 * 0.9) / 5),
        'patch_max': pytest.approx((6 * 0.1 + 2 * 0.9) / 8),
        'mean_off_boundary': None,
        'per_predicted_volume': pytest.approx((6 * 0.1 + 2 * 0.9) / 5),
    }
    assert archive.tables['confusion'].tolist() == [[[3, 1, 0], [0, 2, 1], [0, 0, 1]]]
    right, wrong = archive.tables['uncertainty/vacuity'][0]
    assert (right[5], right.sum(), wrong[45], wrong.sum()) == (6, 6, 2, 2)
    assert archive.info['uncertainty_bounds'] == {'vacuity': 1.0}
    assert archive.info['unions'] == {'disc': [1, 2]}


def test_surface_distance_of_a_shifted_square(tmp_path):
    gt, pred = np.zeros((2, 12, 12), int)
    gt[3:6, 3:6] = 1
    pred[3:6, 4:7] = 1
    archive = run(tmp_path, [make_sample(gt_map=gt, pred_map=pred)])
    # Of the 8 border pixels 3 lie outside the other mask and 1 on its centre, each 1 pixel away
    # from its border; the others lie on it.
    assert archive.cases[0]['assd']['rim'] == pytest.approx(4 / 8)
    assert archive.cases[0]['assd']['cup'] is None
    assert archive.cases[0]['dice']['cup'] is None


def test_calibration_from_logits(tmp_path):
    logits = np.zeros((3, 2, 4), np.float32)
    logits[0] = math.log(6)  # probabilities 0.75, 0.125, 0.125
    sample = make_sample(gt_map=GT, seg_logits=logits)
    archive = run(tmp_path, [sample], num_bins=10)
    table = archive.tables['calibration'][0]
    assert table[:, 7].tolist() == pytest.approx([8, 8 * 0.75, 4])
    assert table.sum() == pytest.approx(8 + 6 + 4)
    entropy = -(0.75 * math.log(0.75) + 2 * 0.125 * math.log(0.125))
    found = archive.cases[0]['seg_uncertainty']['predictive_entropy']
    assert found['mean'] == pytest.approx(entropy, rel=1e-6)
    assert found['mean_foreground'] is None
    assert archive.cases[0]['has_foreground'] is False


def test_ignored_pixels_count_nowhere(tmp_path):
    gt = np.where(GT == 2, 255, GT)
    archive = run(tmp_path, [make_sample(gt_map=gt, pred_map=PRED)])
    assert archive.cases[0]['num_pixels'] == 7
    assert archive.tables['confusion'].sum() == 7


def test_partly_annotated_mask(tmp_path):
    gt = np.where(GT == 1, 0, GT)
    sample = make_sample(gt_map=gt, pred_map=PRED, annotated_classes=(2,))
    archive = run(tmp_path, [sample], unions=dict(disc=(1, 2)))
    case = archive.cases[0]
    assert case['dice'] == {'cup': 2 / 3}
    assert (case['num_pixels'], case['num_wrong_pixels']) == (1, 0)  # the one cup pixel


@pytest.mark.parametrize(
    'fields',
    [
        {},
        dict(gt_label=1),
        dict(gt_map=GT),
        dict(pred_map=PRED),
        dict(pred_score=[0.5, 0.5]),
        dict(gt_label=0, vacuity_map=np.full((2, 4), 0.25)),
    ],
)
def test_any_field_may_be_absent(tmp_path, fields):
    archive = run(tmp_path, [make_sample(**fields)])
    case = archive.cases[0]
    assert case['gt_label'] == fields.get('gt_label')
    assert case['dice'] is None and case['num_pixels'] is None
    assert not archive.tables
    if 'vacuity_map' in fields:
        scores = {key: v for key, v in case['seg_uncertainty']['vacuity'].items() if v is not None}
        assert scores == {'mean': 0.25, 'patch_max': 0.25}


def test_unlabelled_cases_have_empty_rows_in_the_tables(tmp_path):
    samples = [make_sample(pred_map=PRED), make_sample(gt_map=GT, pred_map=PRED, img_path='b.png')]
    archive = run(tmp_path, samples)
    assert archive.tables['confusion'].sum((1, 2)).tolist() == [0, 8]


def test_nan_becomes_null(tmp_path):
    sample = make_sample(
        gt_map=GT,
        pred_map=PRED,
        vacuity_map=np.full((2, 4), np.nan),
        pred_score=[np.nan, np.nan],
        vacuity=float('nan'),
    )
    case = run(tmp_path, [sample]).cases[0]
    assert case['cls_uncertainty']['vacuity'] is None
    assert case['seg_uncertainty']['vacuity'] == dict.fromkeys(AGGREGATIONS)
    assert 'NaN' not in (tmp_path / 'cases.json').read_text()


def test_pictures_are_small(tmp_path):
    image = torch.zeros(3, 40, 80, dtype=torch.uint8)
    image[0] = 200
    gt = np.zeros((40, 80), int)
    gt[:, 40:] = 2
    sample = make_sample(gt_map=gt, pred_map=gt, vacuity_map=np.full((40, 80), 0.5))
    pictures = run(tmp_path, [sample], [image], thumbnail_size=20).pictures[0]
    decoded = {
        kind: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        for kind, data in pictures.items()
    }
    assert decoded['image'].shape == (10, 20, 3)
    assert np.abs(decoded['image'].astype(int) - [0, 0, 200]).max() <= 4  # OpenCV's BGR
    assert decoded['gt'].tolist() == [[0] * 10 + [2] * 10] * 10
    assert np.array_equal(decoded['pred'], decoded['gt'])
    assert decoded['uncertainty'].shape == (10, 20) and set(decoded['uncertainty'].flat) == {128}


def decode(picture):
    return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)


def test_what_explains_the_class(tmp_path):
    """From 0 to the 99th percentile of the picture; the domain stands in the record."""
    sample = make_sample(pred_score=[0.2, 0.8], domain='kermany')
    values = torch.arange(101.0).expand(4, 101)[None]
    sample.explanations = PixelData(saliency=values / 10, class_activation=torch.zeros(1, 4, 101))
    archive = run(tmp_path, [sample], [torch.zeros(1, 4, 101)])
    pictures = archive.pictures[0]
    assert set(pictures) == {'image', 'saliency', 'class_activation'}
    expected = np.rint(np.minimum(np.arange(101) / 99, 1) * 255)
    assert np.array_equal(decode(pictures['saliency']), np.tile(expected, (4, 1)))
    assert not decode(pictures['class_activation']).any()
    assert archive.cases[0]['domain'] == 'kermany'
    assert run(tmp_path, [make_sample()]).cases[0]['domain'] is None


@pytest.mark.parametrize('with_mask', [True, False])
def test_a_resized_and_padded_input_is_shown_as_the_file_is(tmp_path, with_mask):
    """The network sees 16 x 16 pixels, of which the lowest 4 rows are padding."""
    image = torch.zeros(1, 16, 16)
    image[:, :12, 8:] = 1.0
    image[:, 12:] = 1.0
    pred = np.zeros((30, 60), int)
    pred[:, 30:] = 1
    maps = dict(pred_map=pred) if with_mask else {}
    sample = make_sample(**maps, img_shape=(12, 16), ori_shape=(30, 60))
    pictures = run(tmp_path, [sample], [image]).pictures[0]
    shown = decode(pictures['image'])
    assert shown.shape[:2] == (30, 60)
    assert shown[:, :26].max() < 20 and shown[:, 34:].min() > 235
    small = decode(run(tmp_path, [sample], [image], thumbnail_size=20).pictures[0]['image'])
    assert small.shape[:2] == (10, 20)


def test_float_inputs_are_rounded(tmp_path):
    image = torch.tensor([-3.0, 99.6, 300.0]).view(3, 1, 1).expand(3, 16, 16)
    pictures = run(tmp_path, [make_sample()], [image]).pictures[0]
    decoded = cv2.imdecode(np.frombuffer(pictures['image'], np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded.astype(int) - [255, 100, 0]).max() <= 4


def test_volume_keeps_its_fullest_slice(tmp_path):
    gt = np.zeros((3, 8, 8), int)
    gt[1] = 1
    gt[2, :2] = 2
    image = torch.zeros(1, 3, 8, 8)
    image[:, 1] = 0.3
    image[:, 2] = 1.0  # stretched over the whole volume, not over the slice
    sample = make_sample()
    sample.gt_sem_seg = VolumeData(data=torch.as_tensor(gt)[None])
    sample.pred_sem_seg = VolumeData(data=torch.as_tensor(gt)[None])
    archive = run(tmp_path, [sample], [image])
    grey = cv2.imdecode(np.frombuffer(archive.pictures[0]['image'], np.uint8), -1)
    assert grey.shape == (8, 8, 3) and np.abs(grey[4, 4].astype(int) - 0.3 * 255).max() <= 2
    assert archive.cases[0]['dice'] == {'rim': 1.0, 'cup': 1.0}


def test_only_the_cases_that_a_gallery_shows_keep_pictures(tmp_path):
    samples = [
        make_sample(
            gt_label=0, pred_score=[0.9, 0.1], vacuity=0.01 * i, sample_idx=i, gt_map=GT,
            pred_map=GT if i else 0 * GT, vacuity_map=np.full((2, 4), 1 - 0.01 * i),
        )
        for i in range(40)
    ]  # fmt: skip
    images = [torch.zeros(3, 2, 4)] * 40
    archive = run(tmp_path, samples, images, max_pictures=3)
    # Most uncertain by class: the last; by mask and by error: the first.
    assert sorted(archive.pictures) == [0, 1, 2, 37, 38, 39]


def test_without_a_folder_nothing_is_collected():
    metric = CaseRecords()
    metric.process(None, [make_sample(gt_map=GT, pred_map=PRED).to_dict()])
    assert metric.results == [{}]
    assert metric.evaluate(1) == {}


def test_wrong_shapes_are_told(tmp_path):
    with pytest.raises(ValueError, match=r'a.png: gt_sem_seg is \(2, 4\), pred_sem_seg \(2, 3\)'):
        run(tmp_path, [make_sample(gt_map=GT, pred_map=PRED[:, :3])])


def test_unknown_measure_is_told(tmp_path):
    sample = make_sample(gt_map=GT, pred_map=PRED, vacuity_map=GT * 0.1)
    sample.seg_uncertainty.doubt = sample.seg_uncertainty.vacuity
    with pytest.raises(ValueError, match="unknown uncertainty measure 'doubt'"):
        run(tmp_path, [sample])


def make_many(number):
    rng = np.random.default_rng(0)
    samples = [
        make_sample(
            gt_label=int(rng.integers(2)),
            cls_alpha=1 + rng.random(2),
            gt_map=rng.integers(0, 3, (6, 6)),
            seg_logits=rng.normal(size=(3, 6, 6)).astype(np.float32),
            vacuity_map=rng.random((6, 6)),
            sample_idx=i,
            img_path=f'{i}.png',
        )
        for i in range(number)
    ]
    return samples, [torch.full((3, 6, 6), float(i)) for i in range(number)]


def work(rank, folder, number):
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    samples, images = make_many(number)
    order = [*range(number), 0] if number % 2 else list(range(number))  # filled up by repeating
    metric = CaseRecords(out_dir=f'{folder}/two', max_pictures=2)
    metric.dataset_meta = META
    for index in order[rank::2]:
        metric.process({'inputs': [images[index]]}, [samples[index].to_dict()])
    assert metric.evaluate(number) == {}
    dist.destroy_process_group()


def test_two_processes_write_the_same_files(tmp_path):
    samples, images = make_many(25)
    run(tmp_path / 'one', samples, images, max_pictures=2)
    mp.spawn(work, (str(tmp_path), 25), nprocs=2)
    for name in ('cases.json', 'cases.npz'):
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()
    assert len(json.loads((tmp_path / 'two' / 'cases.json').read_text())['cases']) == 25
