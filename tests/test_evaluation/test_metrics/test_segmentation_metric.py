import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from mmjoint.evaluation.metrics import SegmentationMetric
from mmjoint.functional.overlap import dice
from mmjoint.functional.surface import normalised_surface_dice, surface_distance
from mmjoint.utils.errors import UserError

from ..samples import evaluate, make_sample

CLASSES = ('background', 'rim', 'cup')
DISC = dict(disc=(1, 2))


def maps(rng, number, shape=(10, 12), num_classes=3):
    return rng.integers(0, num_classes, (2, number, *shape))


def samples_of(preds, gts, **metainfo):
    return [
        make_sample(gt_map=gt, pred_map=pred, **metainfo)
        for pred, gt in zip(preds, gts, strict=True)
    ]


def test_by_hand():
    gt = [[0, 1, 1, 2]], [[0, 0, 1, 0]]
    pred = [[0, 1, 2, 2]], [[0, 0, 0, 0]]
    results = evaluate(SegmentationMetric(unions=DISC), samples_of(pred, gt), classes=CLASSES)
    expected = {
        'Dice.rim': (2 / 3 + 0) / 2,
        'Dice.cup': (2 / 3 + 0) / 2,  # both empty in the second image counts 0
        'Dice.disc': (1 + 0) / 2,
        'IoU.rim': (1 / 2 + 0) / 2,
        'IoU.disc': (1 + 0) / 2,
        'mean_Dice': (1 / 3 + 1 / 3) / 2,  # over the classes, not the union
        'mean_HD95': (0.9 + 10) / 2,  # 95th percentile of 0, 0, 1 in either class
        # First image: border of the rim {1} against {1, 2}: directed means 0 and 1/2.
        'ASSD.rim': (0.25 + 10) / 2,
        'ASSD_found.rim': 0.25,
        'ASD.rim': (0 + 10) / 2,
        'ASD_found.cup': 0.5,
        'HD95.disc': (0 + 10) / 2,
        'num_missed.rim': 1,
        'num_absent.rim': 0,
        'num_missed.cup': 0,
        'num_absent.cup': 1,
        'num_spurious.cup': 0,
        # Sums over both images: rim 1 of (1 + 3), cup 1 of (2 + 1), background 4 of 5 + 4.
        'dataset_IoU.rim': 1 / 3,
        'dataset_IoU.cup': 1 / 2,
        'dataset_IoU.background': 4 / 5,
        'dataset_IoU.disc': 3 / 4,
        'mIoU': (1 / 3 + 1 / 2 + 4 / 5) / 3,
        'mDice': (2 / 4 + 2 / 3 + 8 / 9) / 3,
        'num_samples': 2,
    }
    actual = {key: results[f'seg/{key}'] for key in expected}
    assert actual == pytest.approx(expected)
    assert all(type(value) is float for value in results.values())


def test_against_one_image_at_a_time():
    rng = np.random.default_rng(0)
    pred, gt = maps(rng, 5)
    results = evaluate(SegmentationMetric(unions=DISC), samples_of(pred, gt), classes=CLASSES)
    for name, ids in (('rim', (1,)), ('cup', (2,)), ('disc', (1, 2))):
        pairs = [(np.isin(p, ids), np.isin(g, ids)) for p, g in zip(pred, gt, strict=True)]
        expected = np.mean([dice(*pair) for pair in pairs])
        assert results[f'seg/Dice.{name}'] == pytest.approx(expected)
        for measure in ('ASD', 'ASSD', 'HD95'):
            expected = np.mean([surface_distance(*pair, measure) for pair in pairs])
            assert results[f'seg/{measure}.{name}'] == pytest.approx(expected)


def test_empty_values_can_be_left_out_of_the_mean():
    gt = np.array([[[0, 1, 1]], [[0, 0, 0]], [[0, 1, 0]]])
    pred = np.array([[[0, 1, 1]], [[0, 0, 0]], [[0, 0, 0]]])
    options = dict(empty_dice=None, empty_distance=None)
    samples = samples_of(pred, gt)
    results = evaluate(SegmentationMetric(**options), samples, classes=CLASSES[:2])
    assert results['seg/Dice.rim'] == 0.5
    assert results['seg/HD95.rim'] == 0
    metric = SegmentationMetric(empty_dice=1.0, empty_distance=128.0, both_empty_distance=0.0)
    results = evaluate(metric, samples, classes=CLASSES[:2])
    assert results['seg/Dice.rim'] == pytest.approx(2 / 3)
    assert results['seg/ASSD.rim'] == pytest.approx(128 / 3)


def test_ignored_pixels_belong_to_no_region():
    rng = np.random.default_rng(1)
    pred, gt = maps(rng, 1)
    gt[0, :, :3] = 255
    whole = evaluate(SegmentationMetric(), samples_of(pred, gt), classes=CLASSES)
    cut = evaluate(SegmentationMetric(), samples_of(pred[:, :, 3:], gt[:, :, 3:]), classes=CLASSES)
    assert whole == pytest.approx(cut)


def test_classes_that_are_not_annotated_are_left_out():
    rng = np.random.default_rng(2)
    pred, gt = maps(rng, 2)
    first, second = samples_of(pred, gt)
    second.set_metainfo(dict(annotated_classes=(0, 2)))
    metric = SegmentationMetric(unions=DISC)
    results = evaluate(metric, [first, second], classes=CLASSES)
    alone = evaluate(metric, [first], classes=CLASSES)
    both = evaluate(SegmentationMetric(), samples_of(pred, gt), classes=CLASSES)
    for key in ('Dice.rim', 'ASSD.rim', 'Dice.disc', 'dataset_IoU.background', 'dataset_IoU.rim'):
        assert results[f'seg/{key}'] == alone[f'seg/{key}'], key
    for key in ('Dice.cup', 'ASSD.cup', 'dataset_Dice.cup'):
        assert results[f'seg/{key}'] == pytest.approx(both[f'seg/{key}']), key


def test_a_class_that_occurs_nowhere_does_not_lower_the_mean_iou():
    maps_ = np.array([[[0, 0, 1, 1]]])
    results = evaluate(SegmentationMetric(), samples_of(maps_, maps_), classes=CLASSES)
    assert results['seg/mIoU'] == 1
    assert np.isnan(results['seg/dataset_IoU.cup'])


def slices_of(rng, patient, numbers, spacing=None):
    pred, gt = maps(rng, len(numbers), num_classes=2)
    samples = [
        make_sample(gt_map=g, pred_map=p, patient_id=patient, slice=z, spacing=spacing)
        for p, g, z in zip(pred, gt, numbers, strict=True)
    ]
    volumes = np.zeros((2, max(numbers) - min(numbers) + 1, *pred.shape[1:]), bool)
    for p, g, z in zip(pred, gt, numbers, strict=True):
        volumes[:, z - min(numbers)] = p, g
    return samples, volumes


@pytest.mark.parametrize('unit', ['pixel', 'mm'])
def test_cases_are_the_volumes_that_their_slices_make(unit):
    rng = np.random.default_rng(3)
    one, volumes_one = slices_of(rng, 'p1', [7, 4, 5], spacing=(0.5, 0.8))
    two, volumes_two = slices_of(rng, 'p2', [0, 1], spacing=(0.5, 0.8))
    metric = SegmentationMetric(group_by='patient_id', distance_unit=unit, slice_spacing=3.0)
    samples = [one[0], two[0], one[1], two[1], one[2]]
    results = evaluate(metric, samples, classes=('background', 'tumour'))
    assert results['seg/num_cases'] == 2
    volumes = volumes_one, volumes_two
    assert results['seg/case_Dice.tumour'] == pytest.approx(np.mean([dice(*v) for v in volumes]))
    spacing = (3.0, 0.5, 0.8) if unit == 'mm' else None
    for measure in ('ASD', 'ASSD', 'HD95'):
        expected = np.mean([surface_distance(*v, measure, spacing=spacing) for v in volumes])
        assert results[f'seg/case_{measure}.tumour'] == pytest.approx(expected)
    expected = np.mean(
        [
            surface_distance(
                s.pred_sem_seg.data[0].numpy() == 1,
                s.gt_sem_seg.data[0].numpy() == 1,
                'ASSD',
                spacing=(0.5, 0.8) if unit == 'mm' else None,
            )
            for s in samples
        ]
    )
    assert results['seg/ASSD.tumour'] == pytest.approx(expected)


def test_volumes():
    rng = np.random.default_rng(4)
    pred, gt = rng.integers(0, 2, (2, 5, 6, 7))
    spacing = (2.0, 1.0, 0.5)
    measures = ('Dice', 'ASSD', 'HD95', 'HD95_max', 'ASSD_pooled', 'NSD')
    metric = SegmentationMetric(distance_unit='mm', measures=measures, nsd_tolerance=0.6)
    samples = samples_of(pred[None], gt[None], spacing=spacing)
    results = evaluate(metric, samples, classes=('background', 'organ'))
    pair = pred == 1, gt == 1
    for measure in ('ASSD', 'HD95', 'HD95_max', 'ASSD_pooled'):
        expected = surface_distance(*pair, measure, spacing=spacing)
        assert results[f'seg/{measure}.organ'] == pytest.approx(expected)
    assert results['seg/NSD.organ'] == normalised_surface_dice(*pair, 0.6, spacing=spacing)
    assert 0 < results['seg/NSD.organ'] < 1
    assert results['seg/Dice.organ'] == pytest.approx(dice(*pair))


def test_values_for_empty_volumes():
    """Four volumes: found, missed, spurious, absent."""
    full, empty = np.ones((2, 3, 3), int), np.zeros((2, 3, 3), int)
    samples = samples_of((full, empty, full, empty), (full, full, empty, empty))
    metric = SegmentationMetric(
        measures=('Dice', 'IoU', 'ASD', 'NSD'),
        empty_dice=0.01,
        empty_distance=128.0,
        both_empty_distance=0.0,
        nsd_tolerance=1.0,
    )
    results = evaluate(metric, samples, classes=('background', 'organ'))
    for name in ('Dice', 'IoU', 'NSD'):
        assert results[f'seg/{name}.organ'] == pytest.approx((1 + 0 + 0 + 0.01) / 4)
    assert results['seg/ASD.organ'] == (0 + 128 + 128 + 0) / 4
    metric = SegmentationMetric(
        measures=('ASD', 'NSD'), empty_dice=None, empty_distance=None, nsd_tolerance=1.0
    )
    results = evaluate(metric, samples, classes=('background', 'organ'))
    assert results['seg/ASD.organ'] == 0
    assert results['seg/NSD.organ'] == pytest.approx(1 / 3)


def test_mean_over_cases_then_over_classes():
    rng = np.random.default_rng(9)
    pred, gt = rng.integers(0, 3, (2, 4, 3, 5, 4))
    gt[0][gt[0] == 2] = 0
    pred[0][pred[0] == 2] = 0  # the cup is absent from the first case
    options = dict(measures=('Dice', 'HD95'), empty_dice=None, empty_distance=None)
    samples = samples_of(pred, gt, patient_id='p', slice=0)
    results = evaluate(SegmentationMetric(**options), samples, classes=CLASSES)
    per_class = [np.mean([dice(pred[n] == c, gt[n] == c) for n in range(c - 1, 4)]) for c in (1, 2)]
    assert results['seg/Dice.cup'] == pytest.approx(per_class[1])
    assert results['seg/mean_Dice'] == pytest.approx(np.mean(per_class))
    expected = (results['seg/HD95.rim'] + results['seg/HD95.cup']) / 2
    assert results['seg/mean_HD95'] == pytest.approx(expected)


def test_similarity_average_hausdorff_precision_and_recall():
    rng = np.random.default_rng(12)
    pred, gt = maps(rng, 4, shape=(13, 11))
    pred[0][pred[0] == 2] = 0  # the cup is missed once
    gt[1, :, :2] = 255
    measures = ('AHD', 'Dice', 'HD95', 'SSIM', 'precision', 'recall')
    metric = SegmentationMetric(measures=measures, unions=DISC, empty_distance=50.0)
    results = evaluate(metric, samples_of(pred, gt), classes=CLASSES)
    pred[gt == 255] = 7  # no class
    for name, ids in (('rim', (1,)), ('cup', (2,)), ('disc', (1, 2))):
        pairs = [(np.isin(p, ids), np.isin(g, ids)) for p, g in zip(pred, gt, strict=True)]
        both = [np.sum(p & g) for p, g in pairs]
        precisions = [n / max(p.sum(), 1) for n, (p, _) in zip(both, pairs, strict=True)]
        recalls = [n / g.sum() for n, (_, g) in zip(both, pairs, strict=True)]
        ssims = [
            structural_similarity(p.astype(float), g.astype(float), data_range=1.0)
            for p, g in pairs
        ]
        ahds = [brute_force_ahd(p, g) if p.any() else 50.0 for p, g in pairs]
        for measure, expected in (
            ('precision', precisions),
            ('recall', recalls),
            ('SSIM', ssims),
            ('AHD', ahds),
            ('HD95', [surface_distance(*pair, 'HD95', empty=50.0) for pair in pairs]),
        ):
            assert results[f'seg/{measure}.{name}'] == pytest.approx(np.mean(expected)), measure
        found = [value for value, (p, _) in zip(ahds, pairs, strict=True) if p.any()]
        assert results[f'seg/AHD_found.{name}'] == pytest.approx(np.mean(found))
    for measure in measures:
        each = [results[f'seg/{measure}.{name}'] for name in ('rim', 'cup')]
        assert results[f'seg/mean_{measure}'] == pytest.approx(np.mean(each))
    assert metric.eval_names == (
        *('mIoU', 'mDice', 'Dice', 'precision', 'recall', 'HD95', 'AHD', 'SSIM', 'misses'),
    )
    for name in ('precision', 'AHD', 'SSIM'):
        metric.restrict([name])
        some = evaluate(metric, samples_of(pred, np.minimum(gt, 2)), classes=(*CLASSES, *'abcde'))
        assert some and all(name in key for key in some)


def brute_force_ahd(one, other):
    points = np.argwhere(one)[:, None], np.argwhere(other)[None]
    pairs = np.linalg.norm(points[0] - points[1], axis=-1)
    return max(pairs.min(0).mean(), pairs.min(1).mean())


def test_average_hausdorff_of_cases():
    rng = np.random.default_rng(13)
    samples, volumes = slices_of(rng, 'p1', [7, 4, 5], spacing=(0.5, 0.8))
    metric = SegmentationMetric(group_by='patient_id', measures=('ASD', 'AHD', 'SSIM', 'recall'))
    results = evaluate(metric, samples, classes=('background', 'tumour'))
    assert results['seg/case_AHD.tumour'] == pytest.approx(brute_force_ahd(*volumes))
    assert results['seg/case_recall.tumour'] == (volumes[0] & volumes[1]).sum() / volumes[1].sum()
    assert 'seg/SSIM.tumour' in results and 'seg/case_SSIM.tumour' not in results


def test_masks_that_are_too_small_for_ssim():
    metric = SegmentationMetric(measures=('SSIM',))
    with pytest.raises(UserError, match=r'sides of at least 7 for SSIM, found \(10, 6\) for a.png'):
        evaluate(metric, samples_of(*maps(np.random.default_rng(0), 1, (10, 6))), classes=CLASSES)


def test_names_of_eval():
    metric = SegmentationMetric(measures=('IoU', 'NSD'), nsd_tolerance=2.0)
    assert metric.eval_names == ('mIoU', 'mDice', 'IoU', 'Jaccard', 'NSD', 'misses')
    rng = np.random.default_rng(10)
    samples = samples_of(*maps(rng, 2))
    metric.restrict(['Jaccard'])
    results = evaluate(metric, samples, classes=CLASSES[:3])
    expected = {f'seg/{name}.{c}' for name in ('IoU', 'median_IoU') for c in ('rim', 'cup')}
    assert set(results) == expected | {'seg/mean_IoU'}


def test_items_are_small():
    rng = np.random.default_rng(5)
    gt = np.zeros((256, 256), int)
    gt[80:180, 90:170] = 1
    pred = np.roll(gt, 3, axis=0)
    del rng
    metric = SegmentationMetric(group_by='patient_id')
    metric.dataset_meta = dict(classes=CLASSES)
    sample = make_sample(gt_map=gt, pred_map=pred, patient_id='p', slice=0)
    metric.process(None, [sample.to_dict()])
    (item,) = metric.results
    assert len(item['pred'][0]) + len(item['gt'][0]) < 5000
    assert not any(isinstance(value, torch.Tensor) for value in item.values())


def test_only_what_is_asked_for_is_computed():
    rng = np.random.default_rng(6)
    samples = samples_of(*maps(rng, 3))
    whole = evaluate(SegmentationMetric(), samples, classes=CLASSES)
    metric = SegmentationMetric()
    metric.restrict(['mIoU'])
    results = evaluate(metric, samples, classes=CLASSES)
    regions = ('background', 'rim', 'cup')
    keys = {
        'seg/mIoU',
        'seg/mean_IoU',
        'seg/IoU.rim',
        'seg/IoU.cup',
        *(f'seg/dataset_IoU.{r}' for r in regions),
    }
    assert results == {key: whole[key] for key in keys}
    metric.process(None, [samples[0].to_dict()])
    assert 'distances' not in metric.results[0]


def test_errors_name_what_is_wrong():
    rng = np.random.default_rng(7)
    pred, gt = maps(rng, 1)

    def run(metric=None, samples=None, classes=CLASSES):
        evaluate(metric or SegmentationMetric(), samples or samples_of(pred, gt), classes=classes)

    for arguments, text in (
        (dict(samples=[make_sample(pred_map=pred[0])] * 3), 'gt_sem_seg, found none in 3 samples'),
        (dict(samples=[make_sample(gt_map=gt[0])]), 'expected pred_sem_seg .*a.png'),
        (dict(samples=samples_of(pred[:, 1:], gt)), r'size \(10, 12\), found \(9, 12\) for a.png'),
        (dict(classes=CLASSES[:2]), r'a.png: pred must hold class ids 0\.\.1, got 0\.\.2'),
        (dict(classes=None), 'expected classes in the metainfo of the data set'),
        (dict(metric=SegmentationMetric(unions=dict(all=(1, 3)))), r'class ids 0\.\.2.*all=\(1, 3'),
        (dict(metric=SegmentationMetric(unions=dict(cup=(1, 2)))), 'name of their own'),
        (dict(metric=SegmentationMetric(distance_unit='mm')), 'expected spacing of 2 axes in mm'),
        (dict(metric=SegmentationMetric(group_by='patient_id')), 'expected patient_id'),
    ):
        with pytest.raises(UserError, match=text):
            run(**arguments)
    metric = SegmentationMetric(group_by='patient_id')
    with pytest.raises(UserError, match='expected slice in the metainfo'):
        run(metric, samples_of(pred, gt, patient_id='p'))
    metric = SegmentationMetric(group_by='patient_id')
    with pytest.raises(UserError, match=r'different numbers in case p, found numbers \[2, 2\]'):
        run(metric, samples_of(pred, gt, patient_id='p', slice=2) * 2)
    with pytest.raises(ValueError, match='measures must be among'):
        SegmentationMetric(measures=('dice',))
    for options in (dict(measures=('NSD',)), dict(nsd_tolerance=1.0)):
        with pytest.raises(ValueError, match='NSD .* belong together'):
            SegmentationMetric(**options)
    with pytest.raises(ValueError, match='distance_unit'):
        SegmentationMetric(distance_unit='cm')


def test_median_over_images():
    gt = [[[0, 1, 1, 1]], [[0, 1, 1, 1]], [[1, 1, 0, 0]], [[0, 0, 0, 0]]]
    pred = [[[0, 1, 1, 1]], [[0, 0, 0, 1]], [[0, 1, 1, 0]], [[0, 0, 0, 0]]]
    metric = SegmentationMetric(measures=['Dice', 'IoU'], empty_dice=None)
    metric.restrict(['Dice'])
    results = evaluate(metric, samples_of(pred, gt), classes=CLASSES[:2])
    # 1, 1/2, 1/2 and an image that has no region.
    assert results['seg/median_Dice.rim'] == pytest.approx(0.5)
    assert results['seg/Dice.rim'] == pytest.approx(2 / 3)
    assert 'seg/median_IoU.rim' not in results
