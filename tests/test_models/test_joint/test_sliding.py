"""Models that predict by windows: against MONAI, a hand-written loop, and each other."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from monai.inferers import sliding_window_inference as monai_inference

from mmjoint.evaluation.metrics import CalibrationMetric, CaseRecords
from mmjoint.functional.dirichlet import opinion_measures, predictive_entropy
from mmjoint.models.joint import windows as windows_module
from mmjoint.models.uncertainty import Ensemble, Evidential, MCDropout, Softmax
from mmjoint.models.uncertainty import TestTimeAugmentation as TTA
from mmjoint.structures import JointDataSample, VolumeData
from mmjoint.utils.errors import UserError
from tests.test_models.test_semi.test_mean_teacher import make as make_mean_teacher
from tests.test_models.test_semi.tiny import make as make_aggregate_decouple
from tests.test_models.test_uncertainty.models import Tiny
from tests.test_models.tiny import assert_same, build, uml_config, vary_norms

CLASSES = 3
# The second axis is shorter than the window, the third is not met by the stride.
SPACE = {2: (16, 40), 3: (40, 8, 23)}
ROI = {2: (32, 16), 3: (16, 16, 16)}
STRIDE = {2: (16, 10), 3: (9, 4, 6)}
TOLERANCE = 2e-6


def config(num_axes=3, *, dropout=0.2, **options):
    parts = dict(num_axes=num_axes, base_channels=2, dropout=dropout, last_dropout=dropout)
    return dict(
        type='JointModel',
        backbone=dict(type='VNetEncoder', **parts),
        decode_head=dict(type='VNetHead', num_classes=CLASSES, **parts),
        **options,
    )


def v_net(num_axes=3, *, seed=0, **options):
    """A small V-Net in evaluation mode; its maps tell where the window lies, at its padding."""
    torch.manual_seed(seed)
    model = build(config(num_axes, **options))
    with torch.no_grad():  # probabilities that are not all alike
        model.decode_head.conv_seg.weight.mul_(20)
    return vary_norms(model, seed).eval()


def slide(num_axes=3, **options):
    if not {'stride', 'overlap'} & set(options):
        options['stride'] = STRIDE[num_axes]
    return dict(mode='slide', roi_size=ROI[num_axes], **options)


def inputs_of(num_axes=3, *, count=1, space=None, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, *(space or SPACE[num_axes]), generator=generator)


def predict(model, inputs, **metainfo):
    samples = [JointDataSample(metainfo=metainfo) for _ in inputs]
    with torch.no_grad():
        if hasattr(model, 'windows'):
            return model(inputs, samples, mode='predict')
        return model.eval().predict(inputs, samples)


def fields(sample):
    return sample.pred_sem_seg.data, sample.seg_uncertainty.predictive_entropy


def probs_of(model):
    def network(windows):
        return model.infer_window(windows).seg_logits.softmax(1)

    return network


def by_hand(inputs, network, roi, stride):
    """Sum the probabilities of all windows and divide by their number, window after window."""
    space = inputs.shape[2:]
    missing = [max(n - length, 0) for n, length in zip(roi, space, strict=True)]
    before = [m // 2 for m in missing]
    size = [length + m for length, m in zip(space, missing, strict=True)]
    padded = inputs.new_zeros(*inputs.shape[:2], *size)
    inside = tuple(slice(b, b + n) for b, n in zip(before, space, strict=True))
    padded[(..., *inside)] = inputs
    axes = [
        [min(k * s, length - n) for k in range(math.ceil((length - n) / s) + 1)]
        for length, n, s in zip(size, roi, stride, strict=True)
    ]
    total = inputs.new_zeros(len(inputs), CLASSES, *size)
    count = inputs.new_zeros(size)
    for starts in itertools.product(*axes):
        at = tuple(slice(a, a + n) for a, n in zip(starts, roi, strict=True))
        total[(..., *at)] += network(padded[(..., *at)])
        count[at] += 1
    return (total / count)[(..., *inside)]


@pytest.mark.parametrize('num_axes', [2, 3])
@pytest.mark.parametrize('weights', ['uniform', 'gaussian'])
@pytest.mark.parametrize('memory_format', ['channels_first', 'channels_last'])
def test_equals_monai(num_axes, weights, memory_format):
    cfg = slide(num_axes, overlap=0.4, weights=weights, window_batch=3)
    model = v_net(num_axes, test_cfg=cfg, memory_format=memory_format)
    inputs = inputs_of(num_axes, count=2)
    with torch.no_grad():
        logits = model.infer(inputs).seg_logits
        expected = monai_inference(
            inputs,
            ROI[num_axes],
            3,
            probs_of(v_net(num_axes)),
            overlap=0.4,
            mode='constant' if weights == 'uniform' else weights,
        )
    assert logits.dtype == torch.float32
    assert expected.std() > 0.1
    assert_same(logits.softmax(1), expected, 'probabilities', tolerance=1e-5)
    for sample, maps in zip(predict(model, inputs), expected, strict=True):
        labels, entropy = fields(sample)
        assert labels.dtype == torch.int64
        assert torch.equal(labels, maps.argmax(0, keepdim=True))
        assert_same(entropy, predictive_entropy(maps[None])[0], 'entropy', tolerance=1e-5)


@pytest.mark.parametrize('bounded', [False, True])
@pytest.mark.parametrize('space', [(40, 8, 23), (16, 16, 16), (9, 10, 11)])
def test_equals_a_loop_over_the_windows(space, bounded):
    """Also where there is one window only, as large as the input or larger."""
    cfg = slide(3, stride=(4, 16, 16), bounded=bounded, window_batch=5)
    inputs = inputs_of(space=space)
    (sample,) = predict(v_net(test_cfg=cfg), inputs)
    with torch.no_grad():
        expected = by_hand(inputs, probs_of(v_net()), ROI[3], (4, 16, 16))
    labels, entropy = fields(sample)
    assert torch.equal(labels, expected.argmax(1))
    assert_same(entropy, predictive_entropy(expected)[0], 'entropy', tolerance=1e-5)
    assert ('seg_logits' in sample) == (not bounded)
    if not bounded:
        assert_same(sample.seg_logits.data.softmax(0), expected[0], tolerance=1e-5)


def test_windows_of_the_specified_stride(monkeypatch):
    """Synapse: patch 64 x 128 x 128 of 80 x 160 x 160 at strides 4, 16, 16: 45 windows."""
    seen = []
    cfg = dict(mode='slide', roi_size=(64, 128, 128), stride=(4, 16, 16))
    model = v_net(test_cfg=cfg)

    def infer_window(windows):
        seen.append(windows[0, 0, 0, 0, 0].item())
        return windows_module.BatchPrediction(seg_logits=windows.expand(-1, 2, -1, -1, -1))

    monkeypatch.setattr(model, 'infer_window', infer_window)
    inputs = torch.zeros(1, 1, 80, 160, 160)
    codes = torch.arange(80 * 160 * 160, dtype=torch.float32)  # exact below 2**24
    inputs[0, 0] = codes.view(80, 160, 160)
    model.infer(inputs)
    corners = itertools.product((0, 4, 8, 12, 16), (0, 16, 32), (0, 16, 32))
    assert seen == [(a * 160 + b) * 160 + c for a, b, c in corners]


@pytest.mark.parametrize('num_axes', [2, 3])
@pytest.mark.parametrize('weights', ['uniform', 'gaussian'])
def test_bounded_equals_unbounded_whatever_the_batch(num_axes, weights):
    inputs = inputs_of(num_axes, count=2)
    results = [
        predict(
            v_net(
                num_axes,
                test_cfg=slide(
                    num_axes, weights=weights, window_batch=window_batch, bounded=bounded
                ),
                memory_format='channels_last',
            ),
            inputs,
        )
        for bounded, window_batch in ((False, 1), (True, 1), (True, 100), (False, 3))
    ]
    kind = VolumeData if num_axes == 3 else PixelData
    for each in zip(*results, strict=True):
        labels, entropy = fields(each[0])
        assert len(labels.unique()) > 1
        for other in each[1:]:
            assert type(other.pred_sem_seg) is kind
            assert other.pred_sem_seg.data.dtype == torch.int64
            assert list(other.seg_uncertainty.keys()) == ['predictive_entropy']
            assert torch.equal(fields(other)[0], labels)
            assert_same(fields(other)[1], entropy, 'entropy', tolerance=TOLERANCE * 5)


def test_bounded_asks_for_no_map_of_all_classes(monkeypatch):
    """What is kept of a prediction is as long as the input only in labels and entropy."""
    shapes = []
    real = windows_module.labels_and_entropy
    monkeypatch.setattr(
        windows_module, 'labels_and_entropy', lambda p: shapes.append(p.shape) or real(p)
    )
    (sample,) = predict(v_net(test_cfg=slide(bounded=True)), inputs_of())
    assert 'seg_logits' not in sample
    assert len(shapes) > 1 and all(shape[2] < SPACE[3][0] for shape in shapes)
    assert sum(shape[2] for shape in shapes) == SPACE[3][0]


def test_bounded_without_padding_of_the_batch():
    inputs = inputs_of(2, space=(40, 24))
    model = v_net(2, test_cfg=slide(2))
    bounded = v_net(2, test_cfg=slide(2, bounded=True))
    size = dict(img_shape=(37, 20), ori_shape=(37, 20))
    (expected,), (actual,) = predict(model, inputs, **size), predict(bounded, inputs, **size)
    assert fields(actual)[0].shape == (1, 37, 20)
    assert torch.equal(fields(actual)[0], fields(expected)[0])
    assert_same(fields(actual)[1], fields(expected)[1], tolerance=1e-5)


def test_bounded_refuses_resized_inputs():
    model = v_net(2, test_cfg=slide(2, bounded=True))
    with pytest.raises(UserError) as caught:
        predict(model, inputs_of(2), img_path='a.png', img_shape=(16, 40), ori_shape=(32, 80))
    text = str(caught.value)
    assert '\n' not in text
    assert text.startswith('a.png: test_cfg.bounded=True expected an input of the original size')
    assert '(32, 80), found it resized to (16, 40)' in text and 'bounded=False' in text
    (sample,) = predict(v_net(2, test_cfg=slide(2)), inputs_of(2), ori_shape=(32, 80))
    assert fields(sample)[0].shape == (1, 32, 80)


class Evident(Tiny):
    """Evidence of pixels; the constructor of the other tests' model takes no ``test_cfg``."""

    def __init__(self, test_cfg, task='seg'):
        super().__init__(2, task, evidence=True)
        self.windows = windows_module.parse_test_cfg(test_cfg)


def test_evidence_is_averaged():
    inputs = torch.randn(1, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    cfg = dict(mode='slide', roi_size=8, stride=5)
    model, bounded = (Evident(dict(cfg, bounded=b)).eval() for b in (False, True))

    def evidence(windows):
        return F.softplus(3 * model.head(windows))

    with torch.no_grad():
        expected = opinion_measures(by_hand(inputs, evidence, (8, 8), (5, 5)) + 1)
    samples = [predict(m, inputs)[0] for m in (model, Evidential(model), bounded)]
    for sample in samples[:2]:
        assert set(sample.seg_uncertainty.keys()) == set(expected)
        for name, value in expected.items():
            assert_same(sample.seg_uncertainty.get(name), value[0], name, tolerance=1e-4)
    assert list(samples[2].seg_uncertainty.keys()) == ['predictive_entropy']
    assert_same(fields(samples[2])[1], expected['predictive_entropy'][0], tolerance=1e-5)
    assert torch.equal(fields(samples[0])[0], fields(samples[2])[0])


# Which models ------------------------------------------------------------------------------


@pytest.mark.parametrize('num_axes', [2, 3])
@pytest.mark.parametrize('make', [make_aggregate_decouple, make_mean_teacher])
def test_semi_supervised_models(make, num_axes):
    plain = make(num_axes).eval()
    model = make(num_axes, test_cfg=slide(num_axes)).eval()
    bounded = make(num_axes, test_cfg=slide(num_axes, bounded=True, window_batch=4)).eval()
    inputs = inputs_of(num_axes)
    with torch.no_grad():
        expected = by_hand(inputs, probs_of(plain), ROI[num_axes], STRIDE[num_axes])
    (sample,), (other,) = predict(model, inputs), predict(bounded, inputs)
    assert_same(sample.seg_logits.data.softmax(0), expected[0], tolerance=1e-5)
    assert torch.equal(fields(sample)[0], fields(other)[0])
    assert 'seg_logits' not in other


def test_windows_of_a_mean_teacher_are_its_own(monkeypatch):
    model = make_mean_teacher(2, test_cfg=slide(2)).eval()
    assert model.student.windows is None and model.teacher.module.windows is None
    for part in (model.student, model.teacher.module):
        monkeypatch.setattr(part, 'infer', lambda inputs: pytest.fail('windows of windows'))
    model.infer(inputs_of(2))
    model.loss_by_pseudo(inputs_of(2, space=(32, 32)))


def test_windows_of_the_student_are_refused():
    with pytest.raises(ValueError, match='give test_cfg to the mean teacher itself'):
        build(
            dict(
                type='MeanTeacher',
                segmentor=config(test_cfg=slide()),
                loss_consistency=dict(type='SoftmaxMSELoss'),
            )
        )


def test_classes_of_windows_are_refused():
    head = dict(
        type='JointLinearClsHead',
        num_classes=2,
        in_channels=32,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
    )
    cfg = dict(mode='slide', roi_size=16, overlap=0.5)
    with pytest.raises(ValueError, match='not the class of its image .JointModel.; set test_cfg'):
        v_net(2, cls_head=head, test_cfg=cfg)
    with pytest.raises(ValueError, match='not the class of its image .UML.; set test_cfg'):
        build(uml_config(test_cfg=cfg))
    for bounded in (False, True):  # a model that does not look by itself
        model = Evident(dict(cfg, bounded=bounded), task='joint').eval()
        with pytest.raises(UserError, match='^test_cfg.mode=.slide.: expected a model of masks'):
            predict(model, torch.randn(1, 3, 20, 20))
    whole = dict(cfg, mode='whole')
    assert v_net(2, cls_head=head, test_cfg=whole).windows is None
    assert build(uml_config(test_cfg=whole)).windows is None


@pytest.mark.parametrize(
    ('cfg', 'match'),
    [
        (dict(roi_size=8), r"test_cfg\.mode must be one of \['whole', 'slide'\], got None"),
        (dict(mode='tile'), "test_cfg.mode must be .* got 'tile'"),
        (dict(mode='whole', crop_size=8), "test_cfg takes .* unknown key 'crop_size'"),
        (dict(mode='slide', roi_size=8, stride=4, step=1), "unknown key 'step'"),
        (dict(mode='slide', stride=4), 'needs test_cfg.roi_size'),
        (dict(mode='slide', roi_size=8), 'test_cfg needs either stride or overlap'),
        (dict(mode='slide', roi_size=8, stride=4, overlap=0.5), 'either .* stride=4 and overlap'),
        (dict(mode='slide', roi_size=(8, 0), stride=4), r'test_cfg\.roi_size must be integers'),
        (dict(mode='slide', roi_size=(), stride=4), r'test_cfg\.roi_size must be integers'),
        (dict(mode='slide', roi_size=8.0, stride=4), r'test_cfg\.roi_size must be integers'),
        (dict(mode='slide', roi_size=8, stride='4'), r'test_cfg\.stride must be integers'),
        (dict(mode='slide', roi_size=8, overlap=1.0), r'test_cfg\.overlap must lie in \[0, 1\)'),
        (dict(mode='slide', roi_size=(8, 8), stride=(4, 4, 4)), '2 of roi_size and 3 of stride'),
        (dict(mode='slide', roi_size=8, stride=4, weights='flat'), r'test_cfg\.weights must be'),
        (dict(mode='slide', roi_size=8, stride=4, window_batch=0), r'test_cfg\.window_batch must'),
        (dict(mode='slide', roi_size=8, stride=4, bounded='yes'), r'test_cfg\.bounded must be'),
    ],
)
def test_ill_settings(cfg, match):
    with pytest.raises(ValueError, match=match) as caught:
        v_net(2, test_cfg=cfg)
    assert '\n' not in str(caught.value)


def test_whole_is_the_default():
    inputs = inputs_of(2, space=(32, 32))
    whole = dict(mode='whole', bounded=True, roi_size=4, stride=2)  # changed back by one option
    expected, actual = (
        predict(v_net(2, test_cfg=cfg), inputs)[0].seg_logits.data for cfg in (None, whole)
    )
    assert torch.equal(expected, actual)


# Estimators --------------------------------------------------------------------------------


@pytest.mark.parametrize('bounded', [False, True])
def test_softmax_and_ensemble(bounded):
    """They need probabilities and get them, bounded or not."""
    inputs = inputs_of(2, count=2)
    members = [v_net(2, seed=s, test_cfg=slide(2, bounded=bounded)) for s in (0, 1)]
    with torch.no_grad():
        means = [
            by_hand(inputs, probs_of(v_net(2, seed=s)), ROI[2], STRIDE[2]).double() for s in (0, 1)
        ]
    for estimator, expected in (
        (Softmax(members[0]), means[0]),
        (Ensemble(members[0], checkpoints=members[1:]), sum(means) / 2),
    ):
        for sample, maps in zip(predict(estimator, inputs), expected, strict=True):
            assert_same(sample.seg_logits.data.double().softmax(0), maps, tolerance=1e-5)
            assert_same(
                sample.seg_uncertainty.predictive_entropy.double(),
                predictive_entropy(maps[None])[0],
                tolerance=1e-5,
            )


@pytest.mark.parametrize('num_axes', [2, 3])
def test_views(num_axes):
    inputs = inputs_of(num_axes)
    estimator = TTA(v_net(num_axes, test_cfg=slide(num_axes)), views='flips')
    network = probs_of(v_net(num_axes))
    axes = range(-num_axes, 0)
    maps = []
    with torch.no_grad():
        for count in range(num_axes + 1):
            for flipped in itertools.combinations(axes, count):
                mean = by_hand(inputs.flip(flipped), network, ROI[num_axes], STRIDE[num_axes])
                maps.append(mean.flip(flipped)[0])
    assert len(maps) == 2**num_axes
    seen = []
    estimator.observer = lambda sample, number, probs: seen.append(number)
    (sample,) = predict(estimator, inputs)
    maps = torch.stack(maps).double()
    assert seen == list(range(len(maps)))
    assert_same(sample.seg_logits.data.double().softmax(0), maps.mean(0), tolerance=1e-5)
    variance = maps.var(0, correction=0).mean(0, keepdim=True)
    assert_same(sample.seg_uncertainty.variance.double(), variance, tolerance=1e-4)


@pytest.mark.parametrize('fused', [True, False])
@pytest.mark.parametrize('window_batch', [1, 3])
@pytest.mark.parametrize('num_axes', [2, 3])
def test_a_pass_of_mc_dropout_is_one_network(num_axes, window_batch, fused):
    """Each pass drops the same units in all windows, however these are batched."""
    inputs = inputs_of(num_axes)
    cfg = slide(num_axes, window_batch=window_batch)
    estimator = MCDropout(v_net(num_axes, test_cfg=cfg), num_samples=3, fused=fused)
    drawn = {}
    plain = v_net(num_axes)
    layers = {n: m for n, m in plain.named_modules() if hasattr(m, 'p') and m.p}
    assert len(layers) > 10
    maps = []
    for number in range(3):
        hooks = []
        for name, layer in layers.items():

            def drop(_, args, output, name=name, p=layer.p, number=number):
                shape = (1, output.shape[1], *[1] * num_axes)
                key = name, number
                if key not in drawn:
                    drawn[key] = estimator.mask_source(name, number, shape, p)
                return output * drawn[key]

            hooks.append(layer.register_forward_hook(drop))
        with torch.no_grad():
            mean = by_hand(inputs, probs_of(plain), ROI[num_axes], STRIDE[num_axes])
        maps.append(mean[0].double())
        for hook in hooks:
            hook.remove()
    maps = torch.stack(maps)
    for _ in range(2):  # the second image of a size finds a plan
        (sample,) = predict(estimator, inputs)
        assert_same(sample.seg_logits.data.double().softmax(0), maps.mean(0), tolerance=1e-5)
        variance = maps.var(0, correction=0).mean(0, keepdim=True)
        assert variance.max() > 1e-3
        assert_same(sample.seg_uncertainty.variance.double(), variance, tolerance=1e-4)
    assert not any(layer._forward_hooks for layer in estimator.model.modules())


# Metrics -----------------------------------------------------------------------------------


def test_metrics_of_a_bounded_prediction(tmp_path):
    (sample,) = predict(v_net(2, test_cfg=slide(2, bounded=True)), inputs_of(2), img_path='a.nii')
    labels = torch.randint(CLASSES, (1, *SPACE[2]), generator=torch.Generator().manual_seed(0))
    sample.gt_sem_seg = PixelData(data=labels)
    as_dict = sample.to_dict()
    metric = CalibrationMetric(task='seg')
    metric.dataset_meta = dict(classes=('background', 'a', 'b'))
    with pytest.raises(UserError) as caught:
        metric.process({}, [as_dict])
    text = str(caught.value)
    assert '\n' not in text and 'expected seg_logits in the predictions' in text
    assert 'set model.test_cfg.bounded=False' in text
    records = CaseRecords(out_dir=tmp_path)
    records.dataset_meta = metric.dataset_meta
    records.process({}, [as_dict])
    assert set(records.results[0]['record']['seg_uncertainty']) == {'predictive_entropy'}
