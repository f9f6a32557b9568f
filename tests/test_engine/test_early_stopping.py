"""Training that stops by itself, interrupted or not, and how its end is known."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.logging import MessageHub

from mmjoint.engine.checkpoint import TRAINING_ENDED, training_is_finished
from mmjoint.engine.hooks import JointEarlyStoppingHook
from mmjoint.utils.errors import UserError

from .helpers import differences, load, train_forked, write_config
from .test_resume import assert_same_run, train_here

NAN = float('nan')
# The confidence rises in training: by `rule='less'` an early one stays the best.
CONFIG = """
train_cfg = dict(max_epochs=9)
default_hooks = dict(
    checkpoint=dict({checkpoint}),
    early_stopping=dict(
        type='JointEarlyStoppingHook', monitor='cls/confidence', patience={patience}, rule='less'
    ),
)
"""
WITHIN = """
train_cfg = dict(_delete_=True, type='JointEpochBasedTrainLoop', max_epochs=9, val_per_epoch=2)
"""


def fake_runner(hub):
    loop = SimpleNamespace(stop_training=False)
    return SimpleNamespace(
        message_hub=hub, train_loop=loop, logger=SimpleNamespace(info=lambda text: None)
    )


@pytest.mark.parametrize(
    ('values', 'rule', 'patience', 'stops_after'),
    [
        ([0.1, 0.5, 0.4, 0.5, 0.3, 0.9], 'greater', 3, 5),  # equal is no improvement
        ([0.1, 0.5, 0.4, 0.6, 0.3, 0.9], 'greater', 3, None),
        ([0.5, 0.6, 0.4, 0.4, 0.3, 0.3], 'less', 1, 2),
        ([0.5, 0.4, 0.4, 0.3, 0.2, 0.1], 'less', 2, None),
        ([NAN, None, 0.5, NAN, None, 0.6], 'greater', 3, None),  # none of these improves
        ([NAN, None, NAN, 0.5], 'greater', 3, 3),
    ],
)
def test_stops_when_the_best_is_as_old_as_the_patience(values, rule, patience, stops_after):
    hub = MessageHub('early_stopping')
    runner, stopped = fake_runner(hub), None
    for count, value in enumerate(values, start=1):
        # A new hook each time: what counts stands in the message hub alone.
        hook = JointEarlyStoppingHook('score', patience, rule)
        hook.before_train(runner)
        hook.after_val_epoch(runner, {'score': value})
        if runner.train_loop.stop_training:
            stopped = count
            break
    assert stopped == stops_after


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match='patience must be at least 1, got 0'):
        JointEarlyStoppingHook('score', 0)
    with pytest.raises(ValueError, match='rule must be'):
        JointEarlyStoppingHook('score', 1, 'max')
    with pytest.raises(UserError, match=r'monitor=score is not among .* \(dice\)'):
        JointEarlyStoppingHook('score', 1).after_val_epoch(fake_runner(None), {'dice': 1.0})


def history(checkpoint):
    return checkpoint['message_hub']['log_scalars']['val/cls/confidence']['values'].tolist()


@pytest.mark.parametrize(
    ('checkpoint', 'within', 'kill'),
    [
        ('interval=1', '', 'at_validation=4'),
        ('interval=3', '', 'at_iter=18'),
        ('by_epoch=False, interval=7', '', 'at_iter=23'),
        # Three epochs of 5 iterations, validated after each second one. The 7th validation, after
        # 14 iterations, stops: the last one of the epoch is still done, also when resumed there.
        ('by_epoch=False, interval=1', WITHIN, 'at_iter=15'),
        ('interval=1', WITHIN, 'at_validation=6'),
    ],
)
def test_a_resumed_training_stops_where_it_would_have(
    tmp_path, runner_state, checkpoint, within, kill
):
    text = CONFIG.format(checkpoint=checkpoint, patience=6 if within else 4) + within
    whole = write_config(tmp_path, text, 'whole.py')
    train_here(whole, tmp_path / 'whole', '--seed', '3')
    killed = write_config(
        tmp_path, text + f"custom_hooks = [dict(type='DieHook', {kill})]\n", 'k.py'
    )
    assert train_forked(1, killed, '--work-dir', tmp_path / 'parts', '--seed', 3) == [-9]
    train_here(whole, tmp_path / 'parts', '--resume')
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')
    name = (tmp_path / 'whole' / 'last_checkpoint').read_text()
    end = load(name)
    values = history(end)
    assert len(values) == (7 if within else 5) and values[0] == min(values)
    assert end['meta']['iter'] == (15 if within else 25)
    assert training_is_finished(name, {'max_epochs': 9})


def test_more_patience_lets_a_stopped_training_go_on(tmp_path, runner_state):
    config = write_config(tmp_path, CONFIG.format(checkpoint='interval=1', patience=1))
    train_here(config, tmp_path / 'w', '--seed', '3')
    before = load(tmp_path / 'w' / 'epoch_2.pth')
    train_here(config, tmp_path / 'w', '--resume')
    assert differences(before, load(tmp_path / 'w' / 'epoch_2.pth')) == []
    assert not (tmp_path / 'w' / 'epoch_3.pth').exists()
    patient = write_config(tmp_path, CONFIG.format(checkpoint='interval=1', patience=3), 'p.py')
    train_here(patient, tmp_path / 'w', '--resume')
    assert (tmp_path / 'w' / 'last_checkpoint').read_text().endswith('epoch_4.pth')


def test_the_end_of_a_training_is_known_from_its_checkpoint(tmp_path, runner_state):
    config = write_config(tmp_path, "custom_hooks = [dict(type='DieHook', at_validation=4)]\n")
    assert train_forked(1, config, '--work-dir', tmp_path / 'w', '--seed', 3) == [-9]
    last = tmp_path / 'w' / 'epoch_4.pth'
    # All epochs are done, but not the last validation.
    assert load(last)['meta']['epoch'] == 4
    assert not training_is_finished(last, {'max_epochs': 4})
    train_here(write_config(tmp_path), tmp_path / 'w', '--resume')
    assert training_is_finished(last, {'max_epochs': 4})
    assert training_is_finished(last, {'max_epochs': 3})
    assert not training_is_finished(last, {'max_epochs': 5})
    assert not training_is_finished(tmp_path / 'w' / 'epoch_3.pth', {'max_epochs': 4})


def test_the_end_of_a_training_by_iterations(tmp_path, runner_state):
    extra = """
train_dataloader = dict(sampler=dict(_delete_=True, type='InfiniteResumableSampler'))
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=8, val_interval=6)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5))
"""
    train_here(write_config(tmp_path, extra), tmp_path / 'w', '--seed', '3')
    last = tmp_path / 'w' / 'iter_8.pth'
    assert load(last)['message_hub']['runtime_info'][TRAINING_ENDED] == {'iter': 8, 'planned': 8}
    assert training_is_finished(last, {'max_iters': 8})
    assert not training_is_finished(last, {'max_iters': 9})
    assert not training_is_finished(tmp_path / 'w' / 'iter_5.pth', {'max_iters': 8})


def test_the_config_is_formatted_once_in_a_run(tmp_path, runner_state, monkeypatch):
    formatted = []
    text = Config.pretty_text.fget

    def counted(cfg):
        formatted.append(cfg)
        return text(cfg)

    monkeypatch.setattr(Config, 'pretty_text', property(counted))
    train_here(write_config(tmp_path), tmp_path / 'w', '--seed', '3')
    assert len(formatted) == 1
    stored = load(tmp_path / 'w' / 'epoch_4.pth')['meta']['cfg']
    assert stored == (tmp_path / 'w' / 'toy.py').read_text() == text(formatted[0])
    # A change is not missed.
    from mmjoint.engine.runner import _TextOnceConfig

    cfg = _TextOnceConfig.of(Config(dict(a=1, b=dict(c=2))))
    assert Config.fromstring(cfg.pretty_text, '.py').to_dict() == dict(a=1, b=dict(c=2))
    cfg.b.c = 3
    assert Config.fromstring(cfg.pretty_text, '.py').to_dict() == dict(a=1, b=dict(c=3))
