import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement, PixelData

from mmjoint.registry import VISUALIZERS
from mmjoint.structures import JointDataSample, VolumeData
from mmjoint.visualization import JointVisualizer
from mmjoint.visualization.drawing import decode_image, heat_table
from mmjoint.visualization.joint_visualizer import _error_kinds
from mmjoint.visualization.panels import wrap

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
    # An entropy has a unit, which takes 14 pixels more.
    assert visualizer.draw(IMAGE, full_sample()).shape[1] == 14 + 5 * 110 + 2 * 58 + 14


@pytest.mark.parametrize(
    'absent, panels',
    [
        (['gt_label', 'gt_sem_seg'], 3),
        (['pred_label', 'pred_score', 'pred_sem_seg'], 3),
        (['gt_sem_seg'], 3),
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


def probable_sample():
    """Left half: truth 1, prediction 0. Right half: truth 0 above, 1 below; prediction 2."""
    gt = torch.zeros(1, 96, 96, dtype=torch.int64)
    gt[:, :, :48] = 1
    gt[:, 48:, 48:] = 1
    pred = torch.zeros_like(gt)
    pred[:, :, 48:] = 2
    probs = torch.tensor([0.5, 0.25, 0.25]).reshape(3, 1, 1).expand(3, 96, 96)
    sample = JointDataSample()
    sample.gt_sem_seg, sample.pred_sem_seg = PixelData(data=gt), PixelData(data=pred)
    sample.seg_logits = PixelData(data=probs.log())
    sample.seg_uncertainty = PixelData(
        predictive_entropy=torch.full((1, 96, 96), 0.4 * math.log(3))
    )
    return sample


def make_visualizer(**options):
    made = JointVisualizer(name='options', panel_size=96, **options)
    made.dataset_meta = META
    return made


def test_panel_of_a_probability():
    drawn = make_visualizer(probability_classes=[1]).draw(IMAGE, probable_sample())
    # image, truth, prediction, probability and entropy; two bars with a unit.
    assert drawn.shape[1] == 14 + 5 * 110 + 2 * 72
    inside = drawn[54 + 40, 14 + 3 * 110 + 40]
    assert inside.tolist() == heat_table('viridis')[round(0.25 * 255)].tolist()
    both = make_visualizer(probability_classes=[0, 2]).draw(IMAGE, probable_sample())
    assert both.shape[1] == drawn.shape[1] + 110 + 72
    with pytest.raises(ValueError, match='probability_classes has 3, there are 3 classes'):
        make_visualizer(probability_classes=[3]).draw(IMAGE, probable_sample())


def test_panel_of_the_errors():
    plain = make_visualizer().draw(IMAGE, probable_sample())
    drawn = make_visualizer(with_errors=True).draw(IMAGE, probable_sample())
    left = 14 + 4 * 110 + 72  # image, truth, prediction and entropy with its bar
    assert drawn.shape[1] == plain.shape[1] + 110 == left + 110
    panel = drawn[54 : 54 + 96, left : left + 96]
    missed, added, other = ([255, 70, 50], [60, 140, 255], [255, 235, 60])
    assert panel[40, 20].tolist() == missed and panel[60, 20].tolist() == missed
    assert panel[20, 70].tolist() == added and panel[70, 70].tolist() == other
    # Without a ground truth there is nothing to compare with.
    sample = probable_sample()
    del sample.gt_sem_seg
    assert make_visualizer(with_errors=True).draw(IMAGE, sample).shape[1] == left - 110


def test_what_is_not_annotated_is_no_error():
    gt, pred = np.array([[0, 0, 1, 255, 1]]), np.array([[0, 1, 2, 1, 0]])
    assert _error_kinds(gt, pred, None, 3).tolist() == [[0, 2, 3, 255, 1]]
    assert _error_kinds(gt, pred, (0, 1, 2), 3).tolist() == [[0, 2, 3, 255, 1]]
    # Class 2 may hide in the background of a reference that tells class 1 alone.
    assert _error_kinds(gt, pred, (1,), 3).tolist() == [[255, 255, 3, 255, 1]]


def test_entropy_in_bits_fills_the_same_share_of_its_range():
    nats = make_visualizer().draw(IMAGE, probable_sample())
    bits = make_visualizer(entropy_unit='bits').draw(IMAGE, probable_sample())
    place = (54 + 40, 14 + 3 * 110 + 30)
    assert nats[place].tolist() == bits[place].tolist() == heat_table()[102].tolist()
    assert not np.array_equal(nats, bits)  # titles and numbers beside the bar differ
    with pytest.raises(ValueError, match="'nats' or 'bits', got 'hartleys'"):
        make_visualizer(entropy_unit='hartleys')


@pytest.mark.parametrize('shape', [(20, 22), (8, 94), (150, 20), (200, 300)])
def test_any_shape_has_a_picture(shape):
    sample = probable_sample()
    for field in ('gt_sem_seg', 'pred_sem_seg', 'seg_logits', 'seg_uncertainty'):
        maps = sample.get(field)
        cut = {key: F.interpolate(maps.get(key)[None].float(), shape)[0] for key in maps.keys()}
        whole = {k: v.to(maps.get(k).dtype) for k, v in cut.items()}
        delattr(sample, field)
        setattr(sample, field, PixelData(**whole))
    visualizer = make_visualizer(probability_classes=[1], with_errors=True)
    drawn = visualizer.draw(np.full((*shape, 3), 90, np.uint8), sample, caption='c')
    wide = round(96 * shape[1] / max(shape))
    assert drawn.shape[1] == 14 + 6 * (max(wide, 96) + 14) + 2 * 72
    assert drawn.shape[0] == 54 + max(round(96 * shape[0] / max(shape)), 90) + 34 + 18


def test_a_long_title_gets_two_lines():
    assert wrap('short', 100) == 'short'
    first, second = wrap('prediction: healthy, p = 0.75', 130).split('\n')
    assert (first, second) == ('prediction: healthy,', 'p = 0.75')
    assert wrap('a' * 100, 64).endswith('…')


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


def test_maps_that_explain_the_class(visualizer):
    """They lie over the image, from 0 to the 99th percentile, which the bar tells."""
    sample = full_sample()
    plain = visualizer.draw(IMAGE, sample)
    values = torch.zeros(1, 96, 96)
    values[:, 30:60, 30:60] = 0.2
    sample.explanations = PixelData(saliency=values, class_activation=values)
    drawn = visualizer.draw(IMAGE, sample)
    assert drawn.shape[1] > plain.shape[1] + 2 * 96
    assert visualizer.draw(IMAGE, sample, draw_pred=False).shape[1] == 14 + 2 * 110
    bright = np.rint(0.25 * 90 + 0.75 * heat_table('plasma')[255].astype(float))
    assert has_colour(drawn, bright) and not has_colour(plain, bright)
    assert np.array_equal(drawn[54 : 54 + 96, : plain.shape[1]], plain[54 : 54 + 96])
    panels = visualizer._explanation_panels(sample, IMAGE)
    assert [panel.title for panel in panels] == [
        'saliency of healthy, 0 to its 99th percentile',
        'class activation of healthy, 0 to its 99th percentile',
    ]
    assert panels[0].upper == pytest.approx(0.2)


def test_a_true_class_without_a_mask_stands_over_the_image(visualizer, monkeypatch):
    titles = []

    def compose(panels, legend, caption, panel_size):
        titles.append([panel.title for panel in panels])
        return IMAGE

    monkeypatch.setattr('mmjoint.visualization.joint_visualizer.compose', compose)
    sample = JointDataSample().set_pred_label(1).set_gt_label(0)
    visualizer.draw(IMAGE, sample)
    visualizer.draw(IMAGE, sample, draw_gt=False)
    assert titles == [
        ['image, truth: healthy', 'prediction: ill  [wrong]'],
        ['image', 'prediction: ill  [wrong]'],
    ]


def test_a_class_alone_is_explained(visualizer):
    sample = JointDataSample().set_pred_label(1)
    sample.explanations = PixelData(saliency=torch.rand(1, 96, 96))
    # Image, prediction, saliency.
    assert visualizer.draw(IMAGE, sample).shape[1] > 14 + 3 * 110
    with pytest.raises(ValueError, match=r'map saliency is \(96, 96\), the image \(48, 96\)'):
        visualizer.draw(IMAGE[:48], sample)
