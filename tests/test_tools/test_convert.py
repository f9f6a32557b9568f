import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope, init_default_scope

from mmjoint.apis.converters import CONVERTERS
from mmjoint.registry import MODELS
from mmjoint.utils.cli import run_cli
from tests.test_reference.generic_ssl_model import official_shapes as diffusion_vnet_shapes
from tests.test_reference.multimix_model import official_shapes as multimix_shapes
from tests.test_reference.test_mc_unet_uq_model import config as mc_unet_config
from tests.test_reference.test_mc_unet_uq_model import official_names as mc_unet_names
from tests.test_reference.test_uml_networks import build, official_keys, official_names

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmjoint')
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='module')
def tool():
    path = ROOT / 'tools' / 'model_converters' / 'convert.py'
    spec = importlib.util.spec_from_file_location('convert', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def official():
    """An official checkpoint's tensors as DataParallel saves them, with dead parts; 4 classes."""
    model = build('uml_res2net', fused=True, num_classes=4)
    shapes = official_keys(model, 'uml', official_names('uml'))
    state = {f'module.{key}': torch.zeros(shape) for key, shape in shapes.items()}
    state['module.cls_feature_encoder.layer4.0.conv1.weight'] = torch.zeros(1)
    key = 'module.un_seg_decoder.conv_out.conv.weight'
    state[key] = torch.arange(state[key].numel()).float().view(state[key].shape)
    return state


def test_converts_and_infers_the_classes(tool, official, tmp_path):
    source, target = tmp_path / 'official.pth', tmp_path / 'ours.pth'
    torch.save({'state_dict': official}, source)
    tool.main(['uml', str(source), str(target)])
    stored = torch.load(target, weights_only=True)
    weight = stored['state_dict']['decode_head.out_conv.weight']
    assert torch.equal(weight, official['module.un_seg_decoder.conv_out.conv.weight'])
    assert len(stored['state_dict']) == len(official) - 1  # the fourth stage is not built
    assert stored['meta'] == {'converted_from': 'official.pth', 'method': 'uml'}


def test_mistakes_end_in_one_line(tool, official, tmp_path, capsys):
    def saved(name, state):
        torch.save(state, tmp_path / name)
        return tmp_path / name

    lacking = {k: v for k, v in official.items() if 'un4.psi.0.bias' not in k}
    odd = {**official, 'module.head.weight': torch.zeros(1)}
    reshaped = {**official, 'module.un_cls_decoder.cls_predict.0.weight': torch.zeros(2, 7)}
    garbage = tmp_path / 'garbage.pth'
    garbage.write_bytes(b'PK no checkpoint')
    existing = tmp_path / 'existing.pth'
    existing.write_bytes(b'mine')
    target = tmp_path / 'target.pth'
    cases = [
        (tmp_path / 'nowhere.pth', target, r'nowhere\.pth: .*found no file'),
        (garbage, target, r'garbage\.pth: .*cannot be read'),
        (saved('lacking.pth', lacking), target, r'1 missing, first decode_head\.navigators\.2'),
        (saved('odd.pth', odd), target, r'checkpoint key head\.weight: .*unknown'),
        (saved('reshaped.pth', reshaped), target, r'cls_head\.fc\.weight has shape \(2, 7\)'),
        (saved('list.pth', [1, 2]), target, r'list\.pth: expected tensors by name, found list'),
        (
            saved('extra.pth', {**official, 'epoch': 3}),
            target,
            r'extra\.pth: expected tensors by name, found int under epoch',
        ),
        (garbage, existing, r'existing\.pth: exists already'),
    ]
    for source, destination, message in cases:
        with pytest.raises(SystemExit) as ended:
            run_cli(tool.main, ['uml', str(source), str(destination)])
        error = capsys.readouterr().err.strip()
        assert ended.value.code == 1
        assert '\n' not in error and re.search(message, error), error
    assert not target.exists()
    assert existing.read_bytes() == b'mine'
    assert not list(tmp_path.glob('.*'))


@pytest.mark.parametrize('num_outputs', [1, 2])
@pytest.mark.parametrize('bilinear', [False, True])
def test_mc_unet_of_any_form(tool, bilinear, num_outputs, tmp_path):
    """Width, form and head are read from the checkpoint; the list among its tensors is kept."""
    options = {'model.backbone.base_channels': 4, 'model.backbone.bilinear': bilinear}
    options |= {'model.decode_head.in_channels': 4, 'model.decode_head.channels': 4}
    options['model.decode_head.single_logit'] = num_outputs == 1
    own = MODELS.build(mc_unet_config(options).model).state_dict()
    rename = CONVERTERS['mc_unet'].rename
    state = {
        key: torch.rand(own[rename(key)].shape)
        if own[rename(key)].dim()
        else torch.tensor(7)  # a counter
        for key in mc_unet_names(bilinear)
    }
    source, target = tmp_path / 'official.pth', tmp_path / 'ours.pth'
    torch.save({**state, 'mask_values': [0, 255]}, source)
    tool.main(['mc_unet', str(source), str(target)])
    stored = torch.load(target, weights_only=True)
    assert stored['meta'] == {
        'mask_values': [0, 255],
        'converted_from': 'official.pth',
        'method': 'mc_unet',
    }
    assert len(stored['state_dict']) == len(state) == (110 if bilinear else 118)
    for key, value in state.items():
        assert torch.equal(stored['state_dict'][rename(key)], value), key
    assert stored['state_dict']['decode_head.conv_seg.weight'].shape[0] == num_outputs


@pytest.mark.parametrize(('num_axes', 'num_classes'), [(3, 5), (2, 4)])
def test_aggregate_decouple(tool, num_axes, num_classes, tmp_path):
    """Axes, width and classes are read from the checkpoint; what was never used is dropped."""
    shapes = diffusion_vnet_shapes(num_axes, num_classes, 4)
    state = {name: torch.rand(shape) for name, shape in shapes.items()}
    source, target = tmp_path / 'official.pth', tmp_path / 'ours.pth'
    torch.save({'state_dict': state}, source)
    tool.main(['aggregate_decouple', str(source), str(target)])
    stored = torch.load(target, weights_only=True)['state_dict']
    assert len(state) == 466
    added = {'difficulty.dice', 'difficulty.learned', 'difficulty.unlearned', 'difficulty.undice'}
    assert len(stored) == 466 - 24 + len(added) and added < set(stored)
    assert torch.equal(stored['decode_head.conv_seg.bias'], state['decoder_theta.out_conv.bias'])
    dropped = [key for key in state if CONVERTERS['aggregate_decouple'].rename(key) is None]
    assert sum(state[key].numel() for key in dropped) == sum(
        state[key].numel() for key in state if 'temb' in key
    ) - sum(stored[key].numel() for key in stored if 'time_' in key)


def test_official_names_of_the_diffusion_vnet():
    """Those of the published lists, where they are at hand."""
    path = ROOT.parent / 'shared' / 'methods' / 'generic_ssl_state_dict.json'
    if not path.is_file():
        pytest.skip(f'{path} is not there')
    lists = json.loads(path.read_text('utf-8'))
    for name, expected in lists.items():
        num_axes, num_classes = (int(n) for n in re.findall(r'(\d+)(?:d|cls)', name))
        shapes = diffusion_vnet_shapes(num_axes, num_classes, 32)
        assert {key: list(shape) for key, shape in shapes.items()} == expected


@pytest.mark.parametrize(
    ('widths', 'in_channels', 'classes'), [((16, 32, 64, 128, 256), 1, 2), ((2, 3, 4, 5, 6), 3, 4)]
)
def test_multimix(tool, widths, in_channels, classes, tmp_path):
    """Widths, channels and classes are those of the checkpoint; what is never called is dropped."""
    shapes = multimix_shapes(widths, in_channels=in_channels, num_cls_classes=classes)
    state = {name: torch.rand(shape) for name, shape in shapes.items()}
    source, target = tmp_path / 'official.pth', tmp_path / 'ours.pth'
    torch.save(state, source)
    tool.main(['multimix', str(source), str(target)])
    stored = torch.load(target, weights_only=True)['state_dict']
    rename = CONVERTERS['multimix'].rename
    dropped = {key for key in state if rename(key) is None}
    assert dropped == {f'decoder.conv_last_saliency.{name}' for name in ('weight', 'bias')}
    assert {rename(key) for key in state} - {None} == set(stored) and len(stored) == 40
    for key, value in state.items():
        assert key in dropped or torch.equal(stored[rename(key)], value), key
    assert torch.equal(
        stored['decode_head.blocks.0.conv1.weight'], state['decoder.dconv_up4.0.weight']
    )


def test_lacking_keys_of_multimix(tool, tmp_path, capsys):
    """Every key must be accounted for, whichever lacks."""
    whole = {name: torch.zeros(shape) for name, shape in multimix_shapes((2, 3, 4, 5, 6)).items()}
    for key in (
        'encoder.fc.weight',
        'decoder.dconv_up4.3.bias',
        'encoder.dconv_down5.0.weight',
        'decoder.dconv_up2.0.weight',
    ):
        source = tmp_path / 'lacking.pth'
        torch.save({name: value for name, value in whole.items() if name != key}, source)
        with pytest.raises(SystemExit):
            run_cli(tool.main, ['multimix', str(source), str(tmp_path / 'ours.pth')])
        error = capsys.readouterr().err.strip()
        assert '\n' not in error and 'lacking.pth: ' in error, error
    assert not (tmp_path / 'ours.pth').exists()
