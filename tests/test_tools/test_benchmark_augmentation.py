import json

import pytest

from mmjoint.apis import augmentation_benchmark
from mmjoint.utils.errors import UserError
from tools.analysis_tools.benchmark_augmentation import main

TINY = '--shape 8 16 12 --classes 4 --iters 2 --chain-iters 3'.split()
OPERATIONS = {
    f'Random{name}Patch' for name in ('Rotate', 'Scale', 'Blur', 'Brightness', 'Contrast', 'Gamma')
}


def test_both_forms_are_measured_and_give_the_same(tmp_path, capsys):
    out = tmp_path / 'result.json'
    main([*TINY, '--out', str(out)])
    result = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == result
    assert set(result['operations']) == OPERATIONS
    for figures in (*result['operations'].values(), result['chain']):
        for form in ('plain', 'fast'):
            assert set(figures[form]) == {'labelled', 'unlabelled'}
            assert all(seconds > 0 for seconds in figures[form].values())
        assert figures['equal_labels'] == 1
        assert figures['image_difference'] < 1e-6
    assert result['num_classes'] == 4 and result['shape'] == [8, 16, 12]


def test_slices(capsys):
    main(['configs/_base_/datasets/strong-augmentation_2d.py', *TINY[:3], *TINY[4:]])
    assert set(json.loads(capsys.readouterr().out)['operations']) == OPERATIONS


def test_the_plain_form_moves_labels_of_zeros():
    seen = []

    def transform(results):
        seen.append(sorted(results))
        return {**results, 'gt_seg_map': labels}

    options = augmentation_benchmark.AugmentationBenchmarkOptions(shape=(8, 8), num_classes=3)
    sample = augmentation_benchmark._patch(options)
    labels = sample['gt_seg_map']
    assert labels.max() == 2
    augmentation_benchmark._compare(dict(plain=transform, fast=transform), sample, 1)
    whole, image = ['gt_seg_map', 'img', 'seg_fields'], ['img', 'seg_fields']
    assert seen == [whole, whole, whole, image]


def test_a_difference_is_seen():
    def wrong(results):
        results['gt_seg_map'] = 1 - results['gt_seg_map'] if 'gt_seg_map' in results else None
        results['img'] = results['img'] + 0.5
        return results

    options = augmentation_benchmark.AugmentationBenchmarkOptions(shape=(8, 8), num_classes=2)
    sample = augmentation_benchmark._patch(options)
    forms = dict(plain=lambda results: results, fast=wrong)
    figures = augmentation_benchmark._compare(forms, sample, 1)
    assert figures['equal_labels'] == 0
    assert figures['image_difference'] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ('args', 'text'),
    [
        (['--shape', '9'], '--shape: expected 2 or 3 numbers >= 4, found'),
        (['--iters', '0'], '--iters: expected a number >= 1, found 0'),
        (['configs/_base_/default_runtime.py'], 'expected the key augmentation'),
    ],
)
def test_errors(args, text):
    with pytest.raises(UserError, match=text):
        main(args)
