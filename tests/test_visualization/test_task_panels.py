"""Pictures of samples with several tasks."""

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from mmjoint.structures import JointDataSample
from mmjoint.visualization import JointVisualizer
from mmjoint.visualization.task_panels import (
    draw_tasks,
    outline_channels,
    overlay_channels,
    overlay_tasks,
    task_colours,
)

TASKS = dict(vessel=dict(vessel=(1,)), odoc=dict(disc=(1, 2), cup=(2,)))
IMAGE = np.full((96, 96, 3), 90, np.uint8)


def labels(first=1, second=2):
    maps = np.zeros((96, 96), np.uint8)
    maps[20:80, 20:80] = first
    maps[40:60, 40:60] = second
    return maps


def make(annotated=('vessel', 'odoc'), predicted=True):
    sample = JointDataSample()
    truth = dict(vessel=labels(1, 1), odoc=labels())
    if annotated:
        maps = {task: torch.from_numpy(truth[task])[None].long() for task in annotated}
        sample.gt_tasks = PixelData(**maps)
    if predicted:
        disc, cup = torch.zeros(2, 96, 96)
        disc[20:80, 20:80], cup[40:60, 40:60] = 0.9, 0.9
        sample.pred_tasks = PixelData(
            vessel=torch.full((1, 96, 96), 0.1), odoc=torch.stack([disc, cup])
        )
        sample.seg_uncertainty = PixelData(
            predictive_entropy_vessel=torch.zeros(1, 96, 96),
            predictive_entropy_odoc=torch.full((1, 96, 96), torch.nan),
        )
    return sample


def has_colour(picture, colour):
    return bool((picture == np.array(colour)).all(-1).any())


def test_colours_of_channels_differ():
    colours = task_colours(TASKS)
    assert list(colours) == ['vessel', 'odoc'] and list(colours['odoc']) == ['disc', 'cup']
    assert len({colour for own in colours.values() for colour in own.values()}) == 3


def test_channels_lie_over_each_other():
    colours = task_colours(TASKS)
    drawn = overlay_channels(IMAGE, labels(), TASKS['odoc'], colours['odoc'], opacity=0.5)
    disc, cup = (np.array(colour, float) for colour in colours['odoc'].values())
    once = np.rint(0.5 * 90 + 0.5 * disc)
    assert drawn[30, 30].tolist() == once.tolist()
    assert drawn[50, 50].tolist() == np.rint(0.5 * once + 0.5 * cup).tolist()
    assert drawn[20, 50].tolist() == disc.tolist() and drawn[40, 50].tolist() == cup.tolist()
    assert drawn[0, 0].tolist() == [90, 90, 90]
    lines = outline_channels(IMAGE, labels(), TASKS['odoc'])
    assert lines[40, 50].tolist() == lines[20, 50].tolist() == [255] * 3
    assert lines[50, 50].tolist() == [90] * 3
    # What tells nothing is striped.
    unknown = np.full((96, 96), 255, np.uint8)
    striped = overlay_channels(IMAGE, unknown, TASKS['odoc'], colours['odoc'])
    assert {tuple(pixel) for pixel in striped.reshape(-1, 3)} == {(90,) * 3, (128,) * 3}


def test_all_tasks_over_one_image():
    drawn = overlay_tasks(IMAGE, dict(vessel=labels(1, 0), odoc=labels(0, 2)), TASKS)
    colours = task_colours(TASKS)
    assert has_colour(drawn, colours['vessel']['vessel'])
    assert has_colour(drawn, colours['odoc']['cup'])


def test_rows_of_tasks():
    sample = make()
    drawn = draw_tasks(IMAGE, sample, TASKS, panel_size=96)
    rows = 3  # all, vessel, odoc; titles above and a legend below each
    assert drawn.dtype == np.uint8 and drawn.shape[0] == rows * (96 + 54 + 34)
    for own in task_colours(TASKS).values():
        for colour in own.values():
            assert has_colour(drawn, colour)
    visualizer = JointVisualizer(name='tasks', panel_size=96)
    visualizer.dataset_meta = dict(tasks=TASKS)
    assert np.array_equal(visualizer.draw(IMAGE, sample), drawn)


@pytest.mark.parametrize('annotated', [(), ('odoc',), ('vessel', 'odoc')])
@pytest.mark.parametrize('predicted', [True, False])
@pytest.mark.parametrize('tasks', [TASKS, None])
def test_anything_may_be_missing(annotated, predicted, tasks):
    if tasks is None and annotated and not predicted:
        pytest.skip('a truth without names of its values cannot be drawn')
    tasks = TASKS if annotated else tasks
    drawn = draw_tasks(IMAGE, make(annotated, predicted), tasks, panel_size=96)
    shown = 2 if predicted else len(annotated)
    # A legend below a single panel may take two lines.
    assert 0 <= drawn.shape[0] - (1 + shown) * (96 + 54 + 34) <= shown * 18


def test_another_size_is_refused():
    with pytest.raises(ValueError, match='give the image at the size of the maps'):
        draw_tasks(IMAGE[:50], make(), TASKS)
