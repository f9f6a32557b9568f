import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmjoint.models.data_preprocessors import JointDataPreprocessor
from mmjoint.models.joint import BatchPrediction
from mmjoint.models.uncertainty import TestTimeAugmentation
from mmjoint.registry import TRANSFORMS
from mmjoint.utils.errors import UserError

from .models import TASKS, Tiny, check_cls, check_seg, close, make_inputs, make_samples, watched

PIPELINE = [dict(type='PillowResize', size=(16, 24)), dict(type='PackJointInputs')]


class Pointwise(Tiny):
    """Each pixel by itself: no view changes anything."""

    def infer_window(self, inputs):
        weight = self.head.weight.sum(tuple(range(2, self.head.weight.dim())), keepdim=True)
        conv = F.conv2d if inputs.dim() == 4 else F.conv3d
        maps = conv(inputs, weight)
        return BatchPrediction(seg_logits=maps, cls_logits=self.cls(maps.flatten(2).mean(2)))


class Counted(Tiny):
    """Notes the shapes of its batches."""

    def infer_window(self, inputs):
        self.__dict__.setdefault('seen', []).append(tuple(inputs.shape))
        return super().infer_window(inputs)


def through_pipeline(estimator, image, pipeline=PIPELINE, **results):
    """Predict an image as a test run does: its pipeline, adapted, then ``test_step``."""
    options = dict(source=estimator.source, fused=estimator.fused, views=estimator.views)
    if estimator.shrink is not None:
        options.update(shrink=estimator.shrink.factor, centre=estimator.shrink.centre)
    shape = image.shape[:2]
    packed = dict(img=image, img_shape=shape, ori_shape=shape, seg_fields=[], **results)
    for transform in estimator.adapt_pipeline(pipeline, options):
        packed = TRANSFORMS.build(transform)(packed)
    batch = {key: [value] for key, value in packed.items()}
    with torch.no_grad():
        (sample,) = estimator.eval().test_step(batch)
    return sample


def picture(size, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((20, 20, 1), np.uint8))[: size[0], : size[1]]


# Views of the network's input -----------------------------------------------------------------


@pytest.mark.parametrize('views', ['dihedral', 'flips', None])
@pytest.mark.parametrize('size', [(8, 8), (6, 9)])
def test_views_are_undone_exactly(size, views):
    model = Pointwise().eval()
    inputs = make_inputs(size=size)
    estimator = TestTimeAugmentation(model, views=views)
    (chunk,) = estimator.passes(inputs[:1], make_samples(inputs)[0])
    assert len(chunk.seg_logits) == len(chunk.cls_logits) == (4 if views == 'flips' else 8)
    expected = model.infer(inputs[:1]).seg_logits
    for logits in chunk.seg_logits.detach():
        close(logits, expected[0].detach(), 1e-5)
    samples, _ = watched(estimator, inputs)
    close(samples[0].seg_uncertainty.mutual_information, 0.0)
    close(samples[0].seg_uncertainty.variance, 0.0)


def test_a_volume_has_eight_flips():
    model, inputs = Tiny(3, num_classes=2).eval(), make_inputs(3, count=1)
    samples, probs = watched(TestTimeAugmentation(model), inputs)
    assert len(probs) == 8
    subsets = [[], [2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4]]
    with torch.no_grad():
        by_hand = [model.infer(inputs.flip(f)).seg_logits.flip(f).softmax(1)[0] for f in subsets]
    close(probs, torch.stack(by_hand))
    assert probs.std(0).max() > 0.01
    exact, _ = watched(TestTimeAugmentation(Pointwise(3).eval()), inputs)
    close(exact[0].seg_uncertainty.variance, 0.0)
    with pytest.raises(UserError, match="tta: views='dihedral' turns images; use views='flips'"):
        watched(TestTimeAugmentation(model, views='dihedral'), inputs)


def test_views_by_hand():
    model, inputs = Tiny().eval(), make_inputs(count=1, size=(6, 9))
    _, probs = watched(TestTimeAugmentation(model), inputs)
    with torch.no_grad():
        for number, seen in enumerate(probs):
            view = inputs.flip(3) if number >= 4 else inputs
            logits = model.infer(view.rot90(number % 4, (2, 3))).seg_logits
            logits = logits.rot90(-(number % 4), (2, 3))
            close(seen, (logits.flip(3) if number >= 4 else logits).softmax(1)[0])


@pytest.mark.parametrize(
    ('size', 'batch_size', 'expected'),
    [
        ((8, 8), None, [(8, 3, 8, 8)]),
        ((6, 9), None, [(4, 3, 6, 9), (4, 3, 9, 6)]),
        ((8, 8), 3, [(3, 3, 8, 8), (3, 3, 8, 8), (2, 3, 8, 8)]),
    ],
)
def test_views_of_a_shape_are_one_batch(size, batch_size, expected):
    model = Counted().eval()
    watched(TestTimeAugmentation(model, batch_size=batch_size), make_inputs(count=1, size=size))
    assert model.seen == expected


# Views of the image ---------------------------------------------------------------------------


@pytest.mark.parametrize('num_classes', [2, 3])
@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('spread', [True, False])
@pytest.mark.parametrize(
    ('size', 'options'),
    [
        ((43, 58), dict(shrink=0.8)),
        ((37, 45), dict(shrink=0.8)),  # odd excess on both axes
        ((37, 45), dict(shrink=0.7, centre='exact')),
        ((40, 40), dict(views='flips', shrink=0.5)),
        ((37, 45), dict()),
    ],
)
def test_savings_change_nothing(size, options, spread, task, num_classes):
    model = Tiny(2, task, num_classes).eval()
    fused, plain = (
        through_pipeline(
            TestTimeAugmentation(
                model, source='image', fused=fused, spread=spread, keep_std=spread, **options
            ),
            picture(size),
        )
        for fused in (True, False)
    )
    if task != 'cls':
        assert fused.pred_sem_seg.shape == size
        probs = [each.seg_logits.data.double().softmax(0) for each in (fused, plain)]
        close(*probs, 8e-7)
        for name, value in plain.seg_uncertainty.items():
            close(getattr(fused.seg_uncertainty, name), value, 5e-6)
        if spread:
            close(fused.seg_std.data, plain.seg_std.data, 5e-6)
    if task != 'seg':
        close(fused.pred_score, plain.pred_score)
        for name, value in plain.cls_uncertainty.items():
            close(getattr(fused.cls_uncertainty, name), value, 2e-6)


@pytest.mark.parametrize('num_classes', [2, 3])
def test_observers_see_every_view(num_classes):
    seen = []
    estimator = TestTimeAugmentation(
        Tiny(2, 'joint', num_classes).eval(), source='image', shrink=0.8, keep_std=True
    )
    estimator.observer = lambda sample, number, probs: seen.append((number, probs.double().numpy()))
    sample = through_pipeline(estimator, picture((43, 58)))
    assert [number for number, _ in seen] == list(range(16))
    probs = np.array([each for _, each in seen])
    assert probs.shape == (16, num_classes, 43, 58)
    check_seg(sample, probs, std=True)
    # Without the spread an observer still sees all.
    seen.clear()
    estimator.spread = estimator.keep_std = False
    mean = through_pipeline(estimator, picture((43, 58)))
    assert len(seen) == 16
    close(mean.seg_logits.data, sample.seg_logits.data, 1e-5)


def test_classes_are_averaged_over_the_views():
    rows = []

    class Told(Tiny):
        def infer_window(self, inputs):
            output = super().infer_window(inputs)
            rows.extend(output.cls_logits.double().softmax(1).numpy())
            return output

    estimator = TestTimeAugmentation(Told().eval(), source='image', shrink=0.8)
    sample = through_pipeline(estimator, picture((43, 58)))
    assert len(rows) == 16 and np.std(rows, axis=0).max() > 1e-3
    check_cls(sample, np.array(rows))


def test_nothing_moves_with_an_exact_centre():
    """A model that sees brightness alone: what is shrunk and enlarged again stays in place."""

    class Bright(Tiny):
        def infer_window(self, inputs):
            bright = 8 * inputs.mean(1, keepdim=True) - 4
            return BatchPrediction(seg_logits=torch.cat([-bright, bright], 1))

    rows, columns = np.mgrid[:45, :61]
    blob = 255 * np.exp(-((rows - 22) ** 2 + (columns - 30) ** 2) / 150)
    image = np.repeat(blob[..., None], 3, 2).round().astype(np.uint8)
    pipeline = [dict(type='PackJointInputs')]
    estimator = TestTimeAugmentation(
        Bright(2, 'seg', 2).eval(), source='image', shrink=0.8, centre='exact'
    )
    estimator.observer = lambda sample, number, probs: seen.append(probs[1])
    seen = []
    through_pipeline(estimator, image, pipeline)
    for view in seen:
        weight = (view - view.min()).double()
        centre = [
            float((weight * torch.from_numpy(p)).sum() / weight.sum()) for p in (rows, columns)
        ]
        assert centre == pytest.approx([22, 30], abs=0.02)
    # A view that is not resized has the shape of the image: turned ones are another batch.
    assert len(seen) == 16 and all(view.shape == (45, 61) for view in seen)


def test_padding_by_the_preprocessor_does_not_matter():
    model = Pointwise().eval()
    model.data_preprocessor = JointDataPreprocessor(
        [0.0], [255.0], size_divisor=32, test_cfg=dict(size_divisor=32)
    )
    # Turned views may differ by a grey level, since Pillow rounds between its passes.
    estimator = TestTimeAugmentation(model, source='image', views='flips')
    sample = through_pipeline(estimator, picture((43, 58)))
    close(sample.seg_uncertainty.variance, 0.0)


def test_the_pipeline_is_wrapped_for_views_of_the_image_only():
    adapt = TestTimeAugmentation.adapt_pipeline
    assert adapt(PIPELINE, dict(type='tta')) == PIPELINE
    (wrapped,) = adapt(PIPELINE, dict(type='tta', source='image', shrink=0.8, spread=False))
    assert wrapped == dict(type='TTAViews', transforms=PIPELINE, shrink=0.8)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(source='file'), "source must be 'inputs' or 'image', got 'file'"),
        (dict(views='turns'), "views must be 'dihedral' or 'flips', got 'turns'"),
        (dict(shrink=0.8), "shrink needs source='image'"),
        (dict(source='image', shrink=1.2), r'shrink must be in \(0, 1\], got 1.2'),
        (dict(source='image', shrink=0.8, centre='left'), "centre must be 'floor' or 'exact'"),
        (dict(batch_size=0), 'batch_size must be >= 1 or None, got 0'),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TestTimeAugmentation(Tiny(), **options)


def test_without_views_the_transform_is_named():
    inputs = make_inputs()
    samples = make_samples(inputs, (6, 8))
    with pytest.raises(UserError, match='expected the views of the image.*TTAViews'):
        TestTimeAugmentation(Tiny(), source='image').predict(inputs, samples)
