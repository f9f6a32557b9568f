from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from mmjoint.datasets.transforms import LoadTaskMaps, PackJointInputs
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError

TASKS = dict(vessel=dict(vessel=(1,)), odoc=dict(disc=(1, 2), cup=(2,)))
LABELS = np.array([[0, 1, 2], [255, 2, 1]], np.uint8)


@pytest.fixture
def write(tmp_path):
    def write(image, name='m.png', **options):
        path = tmp_path / name
        if isinstance(image, bytes):
            path.write_bytes(image)
        else:
            image.save(path, **options)
        return str(path)

    return write


def palette(labels):
    image = Image.fromarray(labels)
    image.putpalette(list(range(255, -1, -1)) * 3)
    return image


def load(path, task='odoc', shape=(2, 3)):
    results = dict(
        task_map_paths={task: path}, tasks=TASKS, ori_shape=shape, img_path='i.jpg', seg_fields=[]
    )
    return LoadTaskMaps().transform(results)


def error(path, *args):
    with pytest.raises(UserError) as caught:
        load(path, *args)
    message = str(caught.value)
    assert message.startswith(f'{path}: ') and '\n' not in message
    return message


@pytest.mark.parametrize('kind', [palette, Image.fromarray])
def test_indices_with_and_without_a_palette(write, kind):
    results = load(write(kind(LABELS)))
    assert results['seg_fields'] == ['gt_task_odoc']
    labels = results['gt_task_odoc']
    assert labels.dtype == np.uint8 and np.array_equal(labels, LABELS)
    labels[:] = 0  # may be written into


def test_maps_are_packed_by_task(write):
    results = dict(
        task_map_paths=dict(
            odoc=write(palette(LABELS)), vessel=write(palette(LABELS % 2), 'v.png')
        ),
        tasks=TASKS,
        ori_shape=(2, 3),
        img_path='i.jpg',
        img=np.zeros((2, 3, 3), np.uint8),
    )
    sample = PackJointInputs()(LoadTaskMaps()(results))['data_samples']
    assert set(sample.gt_tasks.keys()) == {'odoc', 'vessel'} and 'gt_sem_seg' not in sample
    assert sample.gt_tasks.odoc.tolist() == [LABELS.tolist()]
    assert sample.gt_tasks.vessel.tolist() == [(LABELS % 2).tolist()]
    results['task_map_paths'], results['seg_fields'] = {}, []
    assert 'gt_tasks' not in PackJointInputs()(LoadTaskMaps()(results))['data_samples']


def test_values_of_no_channel(write):
    path = write(palette(np.arange(9, dtype=np.uint8).reshape(3, 3)))
    assert error(path, 'odoc', (3, 3)) == (
        f'{path}: expected 0, 255 or the values of the task odoc (disc (1, 2), cup (2,)), found '
        '3, 4, 5, 6, 7, ...'
    )
    path = write(palette(LABELS))
    assert 'the task vessel (vessel (1,)), found 2' in error(path, 'vessel')


def test_another_size(write):
    assert 'i.jpg, 3 x 2 (height x width), found 2 x 3' in error(
        write(palette(LABELS)), 'odoc', (3, 2)
    )


def test_other_kinds_of_files(write, tmp_path):
    colours = Image.fromarray(np.zeros((2, 3, 3), np.uint8))
    assert 'found RGB of 8 bits' in error(write(colours))
    assert 'found palette of 4 bits' in error(write(palette(LABELS % 3), bits=4))
    assert 'found grey of 1 bits' in error(write(Image.fromarray(LABELS > 0)))
    deep = cv2.imencode('.png', LABELS.astype(np.uint16))[1].tobytes()
    assert 'found grey of 16 bits' in error(write(deep))
    assert 'expected a label map as PNG' in error(write(colours, 'm.jpg'))
    assert 'expected a label map as PNG' in error(write(b'', 'empty.png'))
    assert 'cannot read the file (No such file' in error(str(tmp_path / 'no.png'))


@pytest.mark.parametrize('share', [0.1, 0.5, 0.98])
def test_truncated(write, share):
    stream = BytesIO()
    labels = np.random.RandomState(0).randint(0, 3, (64, 64), np.uint8)
    palette(labels).save(stream, 'png')
    data = stream.getvalue()
    path = write(data[: int(share * len(data))])
    assert 'truncated or damaged' in error(path)


def test_built_by_name():
    built = TRANSFORMS.build(dict(type='LoadTaskMaps'))
    assert repr(built) == 'LoadTaskMaps()' and vars(type(built))['deterministic']
