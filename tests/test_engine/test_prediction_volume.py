from types import SimpleNamespace

import pytest

from mmjoint.engine.hooks import PredictionVolumeHook
from mmjoint.structures import JointDataSample
from mmjoint.utils.errors import UserError

PATHS = ['a/x.1.nii.gz', 'a/y.npy', 'b/photo.v2.png']


def runner_of(paths):
    class Records(list):
        def get_data_info(self, index):
            return dict(img_path=self[index])

    return SimpleNamespace(test_dataloader=SimpleNamespace(dataset=Records(paths)))


def test_every_sample_is_written_under_the_name_of_its_image():
    written = []
    hook = PredictionVolumeHook(lambda sample, name: written.append((sample.img_path, name)))
    hook.before_test_epoch(runner_of(PATHS))
    samples = [JointDataSample(metainfo=dict(img_path=path)) for path in PATHS]
    hook.after_test_iter(runner_of(PATHS), 0, {}, samples[:2])
    hook.after_test_iter(runner_of(PATHS), 1, {}, samples[2:])
    assert written == list(zip(PATHS, ['x.1', 'y', 'photo.v2'], strict=True))


def test_two_images_of_one_name_are_refused_and_one_twice_is_not():
    hook = PredictionVolumeHook(print)
    hook.before_test_epoch(runner_of([*PATHS, PATHS[0]]))
    with pytest.raises(UserError, match=r'c/y\.nii: expected a name of its own .* a/y\.npy too'):
        hook.before_test_epoch(runner_of([*PATHS, 'c/y.nii']))
