"""The MC-dropout U-Net on phantoms: prepare, train, be killed, go on, test plainly and with MC."""

import json
import subprocess
import sys

import pytest

from mmjoint.apis import test, train
from tests.test_engine.helpers import ROOT, differences, load, train_forked

pytestmark = pytest.mark.slow

# 18 training images, 5 iterations an epoch: a validation after every 18 // (2 * 4) = 2 of them.
CONFIG = """
_base_ = ['{root}/configs/mc_unet/mc-unet-b8_phantom-isic2016-64x64.py']
custom_imports = dict(imports=['tests.test_engine.toy'])
train_dataloader = dict(dataset=dict(data_root='{data}'))
val_dataloader = dict(dataset=dict(data_root='{data}'))
test_dataloader = dict(dataset=dict(data_root='{data}'))
train_cfg = dict(max_epochs=4, val_per_epoch=2)
param_scheduler = [
    dict(type='PlateauLR', monitor='seg/mDice', patience=0, factor=0.5, threshold=10.0)]
default_hooks = dict(checkpoint=dict(interval=7, max_keep_ckpts=2))
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    raw, out = tmp_path_factory.mktemp('raw') / 'isic', tmp_path_factory.mktemp('data') / 'isic'
    for words in (
        ['make_phantoms.py', 'isic2016', raw, '--num-cases', 30, '--seed', 1, '--size', 96],
        ['isic2016.py', raw, out],
    ):
        script = ROOT / 'prepare_dataset' / words[0]
        subprocess.run([sys.executable, script, *map(str, words[1:])], cwd=ROOT, check=True)
    return out


def test_mc_unet_is_killed_goes_on_and_is_tested(data, tmp_path, runner_state):
    whole, killed = tmp_path / 'whole.py', tmp_path / 'killed.py'
    text = CONFIG.format(root=ROOT, data=data)
    whole.write_text(text)
    killed.write_text(text + "custom_hooks = [dict(type='DieHook', at_iter=9)]\n")
    train.main([str(whole), '--work-dir', str(tmp_path / 'whole'), '--seed', '3'])
    assert train_forked(1, killed, '--work-dir', tmp_path / 'parts', '--seed', 3) == [-9]
    train.main([str(whole), '--work-dir', str(tmp_path / 'parts'), '--resume'])
    names = sorted(path.name for path in (tmp_path / 'whole').glob('*.pth'))
    assert {'iter_14.pth', 'iter_20.pth'} < set(names)
    assert sorted(path.name for path in (tmp_path / 'parts').glob('*.pth')) == names
    for name in names:
        one, two = (load(tmp_path / folder / name) for folder in ('whole', 'parts'))
        assert differences(one, two) == [], name
    checkpoint = tmp_path / 'parts' / 'iter_20.pth'
    # An elevenfold Dice never comes: the rate is halved by the 2nd to the 10th validation.
    rate = load(checkpoint)['optimizer']['param_groups'][0]['lr']
    assert rate == pytest.approx(3e-4 / 2**9)

    results = {}
    for name in ('softmax', 'mc_dropout'):
        words = ['--work-dir', tmp_path / name, '--uq', name]
        test.main([str(word) for word in (whole, checkpoint, *words)])
        (log_dir,) = (path for path in (tmp_path / name).iterdir() if path.is_dir())
        results[name] = json.loads((log_dir / 'metrics.json').read_text())
        assert 0 <= results[name]['seg/Dice.lesion'] <= 1
        assert results[name]['seg/num_samples'] == 9
    assert results['softmax']['seg/NLL'] != results['mc_dropout']['seg/NLL']
