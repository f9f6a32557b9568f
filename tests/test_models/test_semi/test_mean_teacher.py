from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmjoint.engine.hooks import DecoderAveragingHook, MeanTeacherHook
from mmjoint.utils.errors import UserError
from tests.test_models.tiny import build

from .tiny import CLASSES, SPACE, WIDTH, batch, step
from .tiny import make as make_aggregate_decouple


def make(num_axes=3, *, seed=0, dropout=0.1, **options):
    torch.manual_seed(seed)
    parts = dict(num_axes=num_axes, base_channels=WIDTH, dropout=dropout, last_dropout=dropout)
    segmentor = dict(
        type='JointModel',
        backbone=dict(type='VNetEncoder', **parts),
        decode_head=dict(
            type='VNetHead', num_classes=CLASSES, loss_decode=dict(type='DiceCELoss'), **parts
        ),
    )
    settings = dict(unlabelled_weight=0.5, ramp_up_epochs=0, **options)
    return build(
        dict(
            type='MeanTeacher',
            segmentor=segmentor,
            loss_consistency=dict(type='SoftmaxMSELoss'),
            **settings,
        )
    ).train()


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def runner_of(model, iteration=0):
    return SimpleNamespace(model=model, iter=iteration)


def weights(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


@pytest.mark.parametrize('num_axes', [2, 3])
def test_one_step_moves_the_student_alone(num_axes):
    model = make(num_axes)
    student, teacher = weights(model.student), weights(model.teacher.module)
    assert all(torch.equal(student[name], teacher[name]) for name in student)
    log = step(model, batch(num_axes), sgd(model))
    assert set(log) == {
        'loss',
        'labelled.decode.loss_dice_ce',
        'unlabelled.loss_consistency',
        'unlabelled.unweighted_consistency',
        'unlabelled.consistency_weight',
    }
    assert log['unlabelled.consistency_weight'] == 0.5
    assert all(not torch.equal(p, student[n]) for n, p in model.student.named_parameters())
    assert all(torch.equal(p, teacher[n]) for n, p in model.teacher.module.named_parameters())


def test_teacher_stays_in_evaluation_mode():
    model = make()
    for mode in (True, False, True):
        model.train(mode)
        assert model.student.training is mode
        assert not any(module.training for module in model.teacher.modules())


def test_consistency_by_hand():
    """With equal weights, no noise and no dropout only the batch norms' modes differ."""
    model = make(dropout=0.0, noise_std=0.0)
    image = batch()[0]['unlabelled']
    with torch.no_grad():
        student = model.student.infer(image).seg_logits.softmax(1)
    model = make(dropout=0.0, noise_std=0.0)
    with torch.no_grad():
        teacher = model.teacher.module.infer(image).seg_logits.softmax(1)
        losses = model.loss_by_pseudo(image)
    expected = (student - teacher).square().mean().item()
    assert losses['unweighted_consistency'].item() == pytest.approx(expected, rel=1e-5)
    assert losses['loss_consistency'].item() == pytest.approx(0.5 * expected, rel=1e-5)


def test_noise_reaches_the_teacher_alone():
    model = make(noise_std=0.3)
    seen = {}
    for name, module in (('student', model.student), ('teacher', model.teacher.module)):
        module.backbone.register_forward_pre_hook(
            lambda _, args, name=name: seen.update({name: args[0]})
        )
    image = batch()[0]['unlabelled']
    model.loss_by_pseudo(image)
    assert torch.equal(seen['student'], image)
    noise = seen['teacher'] - image
    assert noise.abs().max().item() == pytest.approx(0.6, abs=1e-6)  # cut at twice its deviation
    assert 0.2 < noise.std() < 0.3


def test_hook():
    model, hook = make(momentum=0.1), MeanTeacherHook()
    with torch.no_grad():  # weights that were loaded
        for p in model.student.parameters():
            p.mul_(1.1)
    hook.before_train(runner_of(model))
    start = weights(model.student)
    for name, p in model.teacher.module.named_parameters():
        assert torch.equal(p, start[name])
    step(model, batch(), sgd(model))
    hook.after_train_iter(runner_of(model), 0)
    moved = weights(model.student)
    for name, p in model.teacher.module.named_parameters():
        torch.testing.assert_close(p, 0.9 * start[name] + 0.1 * moved[name])
    buffers = dict(model.student.named_buffers())
    for name, b in model.teacher.module.named_buffers():
        assert torch.equal(b, buffers[name]), name
    teacher = weights(model.teacher.module)
    hook.before_train(runner_of(model, iteration=7))  # a resumed training
    assert all(torch.equal(p, teacher[n]) for n, p in model.teacher.module.named_parameters())


def test_hook_of_the_decoders():
    model = make_aggregate_decouple()
    before = weights(model.decode_head)
    DecoderAveragingHook(keep=1.0).before_train_iter(runner_of(model), 0)
    assert all(torch.equal(p, before[n]) for n, p in model.decode_head.named_parameters())
    DecoderAveragingHook(keep=0.5).before_train_iter(runner_of(model), 0)
    psi, xi = (weights(head) for head in (model.supervised_head, model.denoising_head))
    for name, p in model.decode_head.named_parameters():
        torch.testing.assert_close(p, 0.5 * before[name] + 0.25 * (psi[name] + xi[name]))
    with pytest.raises(ValueError, match='keep must be in'):
        DecoderAveragingHook(keep=2)


def test_hooks_name_a_model_that_does_not_fit():
    for hook in (MeanTeacherHook(), DecoderAveragingHook()):
        with pytest.raises(UserError, match=f'{type(hook).__name__} needs .*, found Linear'):
            runner = runner_of(nn.Linear(1, 1))
            hook.before_train(runner)
            hook.before_train_iter(runner, 0)


@pytest.mark.parametrize('who', ['teacher', 'student'])
def test_prediction(who):
    model = make(predict_on=who).eval()
    with torch.no_grad():
        for p in model.teacher.parameters():
            p.mul_(0.5)
        inputs, samples = batch()
        image = inputs['unlabelled']
        results = model(image, samples['unlabelled'], mode='predict')
        chosen = model.teacher.module if who == 'teacher' else model.student
        expected = chosen.infer(image).seg_logits
        assert torch.equal(model(image).seg_logits, expected)
    for sample, logits in zip(results, expected, strict=True):
        assert torch.equal(sample.seg_logits.data, logits)
        assert sample.pred_sem_seg.data.shape == (1, *SPACE[3])


def test_ramp_up():
    model = build(
        dict(
            type='MeanTeacher',
            segmentor=dict(
                type='JointModel',
                backbone=dict(type='VNetEncoder', base_channels=2),
                decode_head=dict(type='VNetHead', base_channels=2, num_classes=2),
            ),
            loss_consistency=dict(type='SoftmaxMSELoss'),
            unlabelled_weight=2.0,
            num_epochs=11,
            ramp_up_epochs=5,
        )
    )
    seen = []
    for epoch in range(11):
        model.set_train_progress(epoch / 11)
        seen.append(model.consistency_weight)
    assert seen[0] == seen[1] == pytest.approx(2 * 2.718281828**-5)
    assert seen[6] == seen[10] == 2 and seen[5] < 2


def test_mistakes():
    for options, message in (
        (dict(predict_on='both'), "got 'both'"),
        (dict(momentum=0.0), r'momentum in \(0, 1\)'),
        (dict(noise_std=-1.0), 'noise_std >= 0'),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)
