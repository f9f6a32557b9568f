import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, PixelData

from mmjoint.registry import VISUALIZERS
from mmjoint.structures import JointDataSample, VolumeData
from mmjoint.visualization import JointVisualizer
from mmjoint.visualization.drawing import decode_image
from mmjoint.visualization.joint_visualizer import _wrap

META = dict(
    classes=('background', 'rim', 'cup'),
    cls_classes=('healthy', 'ill'),
    palette=[[0, 0, 0], [250, 0, 0], [0, 0, 250]],
)


@pytest.fixture
def visualizer():
    made = JointVisualizer(name='test', panel_size=96)
    made.dataset_meta = META
    return made


def full_sample():
    gt = torch.zeros(1, 96, 96, dtype=torch.int64)
    gt[:, 20:70, 20:70] = 1
    sample = JointDataSample(metainfo=dict(img_path='a.png'))
    sample.set_gt_label(1).set_pred_label(0).set_pred_score(torch.tensor([0.75, 0.25]))
    sample.gt_sem_seg = PixelData(data=gt)
    sample.pred_sem_seg = PixelData(data=torch.where(gt == 1, 2, 0))
    sample.seg_uncertainty = PixelData(
        vacuity=torch.full((1, 96, 96), 0.5), predictive_entropy=torch.zeros(1, 96, 96)
    )
    sample.cls_uncertainty = BaseDataElement(vacuity=torch.tensor(0.4))
    return sample


IMAGE = np.full((96, 96, 3), 90, np.uint8)


def has_colour(picture, colour):
    return bool((picture == np.array(colour)).all(-1).any())


def test_panels_of_a_full_sample(visualizer):
    drawn = visualizer.draw(IMAGE, full_sample())
    # Four panels of 96, margins of 14, a colour bar of 58; titles above, legend below.
    assert drawn.shape == (96 + 54 + 34, 14 + 4 * (96 + 14) + 58, 3)
    assert has_colour(drawn, (250, 0, 0)) and has_colour(drawn, (0, 0, 250))
    assert drawn[54 + 48, 14 + 5].tolist() == [90, 90, 90]  # the image itself
    blended = np.rint(0.65 * 90 + 0.35 * np.array([250, 0, 0]))
    assert drawn[54 + 45, 14 + 110 + 45].tolist() == blended.tolist()


def test_panels_can_be_chosen(visualizer):
    width = visualizer.draw(IMAGE, full_sample(), draw_pred=False).shape[1]
    assert width == 14 + 2 * 110
    width = visualizer.draw(IMAGE, full_sample(), draw_gt=False).shape[1]
    assert width == 14 + 3 * 110 + 58
    visualizer.measures = ['vacuity', 'predictive_entropy', 'dissonance']
    assert visualizer.draw(IMAGE, full_sample()).shape[1] == 14 + 5 * 110 + 2 * 58


@pytest.mark.parametrize(
    'absent, panels',
    [
        (['gt_label', 'gt_sem_seg'], 3),
        (['pred_label', 'pred_score', 'pred_sem_seg'], 3),
        (['gt_sem_seg'], 4),
        (['pred_score'], 4),
        (['seg_uncertainty'], 3),
        (['cls_uncertainty', 'seg_uncertainty', 'gt_label', 'pred_label'], 3),
    ],
)
def test_any_field_may_be_absent(visualizer, absent, panels):
    sample = full_sample()
    for field in absent:
        delattr(sample, field)
    bars = 58 * ('seg_uncertainty' in sample)
    assert visualizer.draw(IMAGE, sample).shape[1] == 14 + 110 * panels + bars


def test_nothing_but_the_image():
    drawn = JointVisualizer(name='bare', panel_size=96).draw(IMAGE)
    assert drawn.shape == (184, 14 + 110, 3)


def test_titles(visualizer):
    sample = full_sample()
    assert visualizer._gt_title(sample) == 'ground truth: ill'
    assert visualizer._pred_title(sample) == 'prediction: healthy, p = 0.75, vacuity 0.40  [wrong]'
    sample.set_gt_label(0)
    assert visualizer._pred_title(sample) == 'prediction: healthy, p = 0.75, vacuity 0.40'
    visualizer.dataset_meta = None
    assert visualizer._gt_title(sample) == 'ground truth: class 0'


def test_a_long_title_gets_two_lines():
    assert _wrap('short', 100) == 'short'
    first, second = _wrap('prediction: healthy, p = 0.75', 130).split('\n')
    assert (first, second) == ('prediction: healthy,', 'p = 0.75')
    assert _wrap('a' * 100, 64).endswith('…')


def test_volume_is_drawn_by_its_fullest_slice(visualizer):
    volume = np.stack([np.full((96, 96, 3), value, np.uint8) for value in (10, 20, 30)])
    gt = torch.zeros(1, 3, 96, 96, dtype=torch.int64)
    gt[:, 2, 10:90, 10:90] = 1
    gt[:, 1, 10:20] = 1
    sample = JointDataSample()
    sample.gt_sem_seg = VolumeData(data=gt)
    assert visualizer.draw(volume, sample)[54 + 5, 14 + 5].tolist() == [30, 30, 30]


def test_file_is_written_whole(visualizer, tmp_path):
    visualizer.add_datasample('case', IMAGE, full_sample(), out_file=tmp_path / 'out' / 'a.png')
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a.png']
    drawn = decode_image((tmp_path / 'out' / 'a.png').read_bytes())
    assert np.array_equal(drawn, visualizer.draw(IMAGE, full_sample(), caption='case'))


def test_backend_gets_the_picture(tmp_path):
    made = VISUALIZERS.build(
        dict(
            type='JointVisualizer',
            name='backend',
            vis_backends=[dict(type='LocalVisBackend')],
            save_dir=str(tmp_path),
        )
    )
    made.add_datasample('case', IMAGE, full_sample(), step=3)
    assert (tmp_path / 'vis_data' / 'vis_image' / 'case_3.png').is_file()


def test_wrong_arguments(visualizer):
    with pytest.raises(ValueError, match='opacity must be in 0..1, got 2'):
        JointVisualizer(name='wrong', opacity=2)
    with pytest.raises(ValueError, match=r'the mask is \(96, 96\), the image \(48, 96\)'):
        visualizer.draw(IMAGE[:48], full_sample())
    with pytest.raises(TypeError, match='opacitty'):
        JointVisualizer(name='typo', opacitty=0.5)
