from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from PIL import Image

from mmjoint.engine.hooks import TaskLabelHook
from mmjoint.functional.task_labels import labels_from_probs
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError
from mmjoint.utils.index_png import read_index_png

TASKS = dict(lesion=dict(EX=(1,), HE=(2,)), odoc=dict(disc=(1, 2), cup=(2,)))


def runner_of(*paths):
    class Records(list):
        metainfo = dict(tasks=TASKS)

        def get_data_info(self, index):
            return dict(img_path=self[index])

    return SimpleNamespace(test_dataloader=SimpleNamespace(dataset=Records(paths)))


def predicted(path, seed=0, size=(9, 7), **maps):
    sample = JointDataSample(metainfo=dict(img_path=path))
    generator = torch.Generator().manual_seed(seed)
    probs = {task: torch.rand(len(TASKS[task]), *size, generator=generator) for task in TASKS}
    sample.pred_tasks = PixelData(**probs)
    if maps:
        sample.seg_uncertainty = PixelData(**maps)
    return sample


def write(hook, *samples):
    runner = runner_of(*(sample.img_path for sample in samples))
    hook.before_test_epoch(runner)
    hook.after_test_iter(runner, 0, {}, list(samples))
    hook.after_test_epoch(runner)


@pytest.mark.parametrize('task', TASKS)
def test_a_map_for_each_image(task, tmp_path):
    samples = [predicted('a/IDRiD_01.jpg', 0), predicted('a/x.1.tif', 1, (4, 5))]
    write(TaskLabelHook(task, str(tmp_path / 'new')), *samples)
    assert sorted(path.name for path in (tmp_path / 'new').iterdir()) == ['IDRiD_01.png', 'x.1.png']
    for sample, name in zip(samples, ('IDRiD_01', 'x.1'), strict=True):
        expected = labels_from_probs(sample.pred_tasks.get(task), TASKS[task])
        found = read_index_png(tmp_path / 'new' / f'{name}.png')
        np.testing.assert_array_equal(found, expected)
    with Image.open(tmp_path / 'new' / 'x.1.png') as image:
        assert image.mode == 'P' and image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


def test_unsure_pixels_tell_nothing(tmp_path):
    uncertainty = torch.linspace(0, 1, 63).view(1, 9, 7)
    sample = predicted('a.png', entropy=uncertainty)
    write(TaskLabelHook('odoc', str(tmp_path / 'plain')), sample)
    options = dict(min_confidence=0.3, uncertainty='entropy', max_uncertainty=0.8)
    write(TaskLabelHook('odoc', str(tmp_path / 'sure'), **options), sample)
    plain, sure = (read_index_png(tmp_path / name / 'a.png') for name in ('plain', 'sure'))
    disc, cup = sample.pred_tasks.odoc.numpy()
    said = np.stack([np.where(plain > 0, disc, 1 - disc), np.where(plain == 2, cup, 1 - cup)])
    unsure = (said.min(0) < 0.3) | (uncertainty[0].numpy() > 0.8)
    np.testing.assert_array_equal(sure, np.where(unsure, 255, plain))
    assert 0 < unsure.sum() < unsure.size


@pytest.mark.parametrize(
    ('options', 'samples', 'message'),
    [
        (
            dict(task='vessel'),
            [predicted('a.png')],
            "one of the test set, lesion, odoc, found 'ves",
        ),
        (dict(task='odoc'), [predicted('a/x.png'), predicted('b/x.jpg')], 'found a/x.png too'),
        (
            dict(task='odoc', uncertainty='entropy', max_uncertainty=1),
            [predicted('a.png')],
            'a.png: expected seg_uncertainty.entropy in the prediction, found none',
        ),
        (
            dict(task='odoc'),
            [JointDataSample(metainfo=dict(img_path='a.png'))],
            'a.png: expected pred_tasks.odoc in the prediction, found none',
        ),
    ],
)
def test_mistakes_end_in_one_line_before_anything_is_written(options, samples, message, tmp_path):
    with pytest.raises(UserError, match=message):
        write(TaskLabelHook(out_dir=str(tmp_path / 'new'), **options), *samples)
    assert not (tmp_path / 'new').exists()


def test_a_bound_without_its_measure():
    with pytest.raises(ValueError, match='belong together'):
        TaskLabelHook('odoc', 'out', max_uncertainty=0.5)
