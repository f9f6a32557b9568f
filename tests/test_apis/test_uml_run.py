"""The whole way of a real config on phantoms: prepare, train, be killed, go on, test, report."""

import json
import subprocess
import sys

import pytest

from mmjoint.apis import test, train
from tests.test_engine.helpers import ROOT, load, train_forked
from tests.test_engine.test_resume import assert_same_run

pytestmark = pytest.mark.slow

CONFIG = """
_base_ = ['{root}/configs/uml/uml-b8_res2net_phantom-refuge-64x64.py']
custom_imports = dict(imports=['tests.test_engine.toy'])
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(data_root='{data}'))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}'))
test_dataloader = dict(dataset=dict(data_root='{data}'))
train_cfg = dict(max_epochs=3, val_interval=1)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=3))
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    raw, out = tmp_path_factory.mktemp('raw') / 'refuge', tmp_path_factory.mktemp('data') / 'refuge'
    for words in (
        ['make_phantoms.py', 'refuge', raw, '--num-cases', 12, '--seed', 1, '--size', 128],
        ['refuge.py', raw, out, '--size', 64],
    ):
        script = ROOT / 'prepare_dataset' / words[0]
        subprocess.run([sys.executable, script, *map(str, words[1:])], cwd=ROOT, check=True)
    return out


def test_uml_is_killed_goes_on_and_is_reported(data, tmp_path, runner_state):
    whole, killed = tmp_path / 'whole.py', tmp_path / 'killed.py'
    text = CONFIG.format(root=ROOT, data=data)
    whole.write_text(text)
    killed.write_text(text + "custom_hooks = [dict(type='DieHook', at_iter=4)]\n")
    train.main([str(whole), '--work-dir', str(tmp_path / 'whole'), '--seed', '3'])
    assert train_forked(1, killed, '--work-dir', tmp_path / 'parts', '--seed', 3) == [-9]
    train.main([str(whole), '--work-dir', str(tmp_path / 'parts'), '--resume'])
    assert_same_run(tmp_path / 'whole', tmp_path / 'parts')
    events = list((tmp_path / 'whole').glob('*/vis_data/events.out.tfevents.*'))
    assert events[0].stat().st_size > 20000, 'drawn predictions are among the events'

    checkpoint = tmp_path / 'parts' / 'iter_6.pth'
    assert load(checkpoint)['meta']['model_name'] == 'UML'
    words = ['--work-dir', tmp_path / 'test', '--report', '--show-dir', tmp_path / 'show']
    test.main([str(word) for word in (whole, checkpoint, *words)])
    log_dir = next(path for path in (tmp_path / 'test').iterdir() if path.is_dir())
    metrics = json.loads((log_dir / 'metrics.json').read_text())
    assert 0 <= metrics['seg/Dice.disc'] <= 1 and metrics['cls/num_samples'] == 4
    assert (log_dir / 'report.html').stat().st_size > 20000
    assert len(list((tmp_path / 'show').glob('*.png'))) == 4
