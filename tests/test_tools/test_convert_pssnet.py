"""Official checkpoints of PSSNet, and ImageNet weights of its backbone."""

import importlib.util
import math
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from torchvision.models.swin_transformer import SwinTransformer

from mmjoint.apis.converters import CONVERTERS
from mmjoint.registry import MODELS
from mmjoint.utils.cli import run_cli

from .pssnet_official import adversarial_shapes, generator_shapes

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / 'configs' / '_base_' / 'models' / 'pssnet_swin-t.py'
ADVERSARIAL = MODEL.with_name('pssnet-adversarial_swin-t.py')
TASKS = ('vessel', 'lesion', 'odoc')


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


def count(shapes):
    return sum(math.prod(shape) for key, shape in shapes.items() if 'position_index' not in key)


def made_up(shapes):
    """Tensors that differ from each other, and along their first axis."""
    return {
        key: (torch.arange(shape[0]) + 1000 * number)
        .float()
        .view(-1, *[1] * (len(shape) - 1))
        .expand(shape)
        .clone()
        for number, (key, shape) in enumerate(shapes.items())
    }


def convert(tool, method, shapes, folder, *options):
    """An official checkpoint of some shapes, and what becomes of it."""
    state = made_up(shapes)
    source, target = folder / 'official.pth', folder / 'ours.pth'
    torch.save({'state_dict': {f'module.{k}': v for k, v in state.items()}}, source)
    tool.main([method, str(source), str(target), *options])
    return state, torch.load(target, weights_only=True)['state_dict']


@pytest.mark.slow
def test_published_sizes(tool, tmp_path):
    """All numbers of parameters are the published ones; what was never used is dropped."""
    shapes = adversarial_shapes()
    assert count(generator_shapes(attention=True)) == 39_064_800
    assert count(shapes) == 39_064_800 + 2 * (2_762_689 + 2_765_761 + 2_763_713)
    _, stored = convert(tool, 'pssnet', shapes, tmp_path)
    unused = 1_011_860 + 256
    assert count({k: v.shape for k, v in stored.items()}) == count(shapes) - unused
    shapes = generator_shapes(attention=False)
    assert count(shapes) == 37_817_544
    (tmp_path / 'first').mkdir()
    _, stored = convert(tool, 'pssnet-stage1', shapes, tmp_path / 'first')
    assert count({k: v.shape for k, v in stored.items()}) == count(shapes)


def small_config(path, stage=1, critic=(2, 3, 4, 5)):
    """Write a config of a small network; gives the sizes that its checkpoints have."""
    width = 8
    swin = dict(width=6, depths=(1, 1, 1, 1), heads=(1, 2, 3, 6), window=7)
    cfg = Config.fromfile(MODEL if stage == 1 else ADVERSARIAL)
    generator = cfg.model.generator
    generator.backbone.update(embed_dims=6, depths=swin['depths'], num_heads=swin['heads'])
    generator.decode_head.decoder.update(in_channels=(6, 12, 24, 48), channels=width)
    generator.auxiliary_head.decoder.update(in_channels=24, channels=width)
    if stage == 2:
        cfg.model.critic.channels = critic
    cfg.dump(path)
    return dict(width=width, swin=swin)


@pytest.mark.parametrize('stage', [1, 2])
def test_names(tool, stage, tmp_path):
    """Of a small network: every tensor is where it belongs."""
    critic, options = (2, 3, 4, 5), small_config(tmp_path / 'small.py', stage)
    width = options['width']
    if stage == 1:
        shapes = generator_shapes(attention=False, **options)
    else:  # window and heads are read from the checkpoint
        shapes = adversarial_shapes(critic, window=5, heads=2, **options)
    method, prefix = ('pssnet-stage1', '') if stage == 1 else ('pssnet', 'generator.')
    state, stored = convert(tool, method, shapes, tmp_path, '--config', str(tmp_path / 'small.py'))

    dead = [key for key in state if CONVERTERS[method].rename(key) is None]
    assert len(dead) == (5 * (11 + 2 + 4) + 2 if stage == 2 else 0)
    grouped = {
        'decode_head.{}.bottleneck.conv.weight': 'decode_head.bottleneck.conv.weight',
        'decode_head.{}.psp_modules.3.1.conv.weight': 'decode_head.psp_modules.3.1.conv.weight',
        'decode_head.{}.fpn_convs.1.gn.bias': 'decode_head.fpn_convs.1.gn.bias',
        'auxiliary_head.{}.convs.0.conv.weight': 'auxiliary_head.convs.0.conv.weight',
    }
    for t, task in enumerate(TASKS):
        for ours, theirs in grouped.items():
            own = stored['generator.' + ours.format(f'decoders.{task}')]
            assert torch.equal(own, state[prefix + theirs].split(width)[t]), ours
        for head in ('decode_head', 'auxiliary_head'):
            own = stored[f'generator.{head}.decoders.{task}.conv_seg.weight']
            assert torch.equal(own, state[f'{prefix}{head}.conv_seg.{t}.weight'])
    same = {'generator.backbone.norm2.weight': f'{prefix}backbone.norm2.weight'}
    if stage == 2:
        ours, theirs = 'generator.decode_head.attention', 'generator.decode_head.attn'
        table = 'relative_position_bias_table'
        same |= {
            f'{ours}.blocks.0.{table}': f'{theirs}.w_msa.0.{table}',
            f'{ours}.blocks.0.q.weight': f'{theirs}.w_msa.0.q.weight',
            f'{ours}.blocks.0.kv.bias': f'{theirs}.w_msa.0.kv.bias',
            f'{ours}.blocks.0.proj.bias': f'{theirs}.w_msa.0.proj.bias',
            f'{ours}.blocks.0.norm1.weight': f'{theirs}.w_msa.0.norm1.weight',
            f'{ours}.blocks.0.norm2.weight': f'{theirs}.norm2.0.weight',
            f'{ours}.blocks.0.ffn.0.weight': f'{theirs}.ffn.0.layers.0.0.weight',
            f'{ours}.blocks.0.ffn.2.weight': f'{theirs}.ffn.0.layers.1.weight',
            f'{ours}.fuse.conv.weight': f'{theirs}.proj.conv.weight',
            'critics.lesion.convs.0.weight': 'discriminator.1.conv1.conv.weight',
            'aux_critics.odoc.convs.4.bias': 'auxiliary_discriminator.2.conv5.conv.bias',
        }
    for ours, theirs in same.items():
        assert torch.equal(stored[ours], state[theirs]), ours


def test_mistakes_end_in_one_line(tool, tmp_path, capsys):
    config = tmp_path / 'small.py'
    shapes = generator_shapes(attention=False, **small_config(config))
    whole = {key: torch.zeros(shape) for key, shape in shapes.items()}
    key = 'decode_head.lateral_convs.0.gn.bias'
    cases = {
        'lacking': ({k: v for k, v in whole.items() if k != key}, r'3 missing'),
        'odd': ({**whole, 'decode_head.conv_seg.3.bias': torch.zeros(1)}, r'3 tasks .* number 3'),
        'whole': ({**whole, key: torch.zeros(10)}, r'3 groups of outputs'),
        'other': ({**whole, 'backbone.stages.0.x': torch.zeros(1)}, r'1 left over, first gen'),
    }
    for name, (state, message) in cases.items():
        source = tmp_path / f'{name}.pth'
        torch.save(state, source)
        with pytest.raises(SystemExit):
            arguments = ['pssnet-stage1', str(source), str(tmp_path / 'ours.pth')]
            run_cli(tool.main, [*arguments, '--config', str(config)])
        error = capsys.readouterr().err.strip()
        assert '\n' not in error and re.search(message, error), error
    assert not (tmp_path / 'ours.pth').exists()


# ------------------------------------------------------------------------------------------ Swin

SMALL = dict(embed_dims=6, depths=(2, 1, 2, 1), num_heads=(1, 2, 3, 6), window_size=4)


def microsoft_names(state):
    """Microsoft's names of torchvision's Swin, an implementation of the same network."""
    rules = (
        (r'features\.0\.0\.(.+)', r'patch_embed.proj.\1'),
        (r'features\.0\.2\.(.+)', r'patch_embed.norm.\1'),
        (r'features\.(\d)\.(\d)\.attn\.(.+)', r'layers.\1.blocks.\2.attn.\3'),
        (r'features\.(\d)\.(\d)\.(norm\d\..+)', r'layers.\1.blocks.\2.\3'),
        (r'features\.(\d)\.(\d)\.mlp\.0\.(.+)', r'layers.\1.blocks.\2.mlp.fc1.\3'),
        (r'features\.(\d)\.(\d)\.mlp\.3\.(.+)', r'layers.\1.blocks.\2.mlp.fc2.\3'),
        (r'features\.(\d)\.((?:norm|reduction)\..+)', r'layers.\1.downsample.\2'),
        (r'((?:norm|head)\..+)', r'\1'),
    )
    renamed = {}
    for key, value in state.items():
        ours = next(m.expand(new) for old, new in rules if (m := re.fullmatch(old, key)))
        # Features alternate: stage 0 is number 1, its merging number 2.
        ours = re.sub(r'layers\.(\d)', lambda m: f'layers.{(int(m[1]) - 1) // 2}', ours)
        renamed[ours] = value
    return renamed


@pytest.mark.parametrize('naming', ['microsoft', 'timm'])
@torch.no_grad()
def test_swin_gives_the_same_maps(tool, naming, tmp_path):
    torch.manual_seed(0)
    theirs = SwinTransformer(
        patch_size=[4, 4],
        embed_dim=SMALL['embed_dims'],
        depths=list(SMALL['depths']),
        num_heads=list(SMALL['num_heads']),
        window_size=[SMALL['window_size']] * 2,
        stochastic_depth_prob=0.0,
        num_classes=3,
    ).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.2 * torch.randn(parameter.shape))
    state = microsoft_names(theirs.state_dict())
    if naming == 'timm':  # merges at the start of a stage
        state = {
            re.sub(
                r'layers\.(\d)\.downsample', lambda m: f'layers.{int(m[1]) + 1}.downsample', key
            ): value
            for key, value in state.items()
            if not key.endswith('relative_position_index')
        }
    cfg = Config.fromfile(MODEL)
    cfg.model.generator.backbone.update(SMALL)
    cfg.dump(tmp_path / 'small.py')
    source, target = tmp_path / 'official.pth', tmp_path / 'ours.pth'
    torch.save({'model': state}, source)
    tool.main(['swin', str(source), str(target), '--config', str(tmp_path / 'small.py')])

    settings = dict(cfg.model.generator.backbone)
    settings['init_cfg'] = dict(type='Pretrained', checkpoint=str(target))
    ours = MODELS.build(settings)
    ours.init_weights()
    ours.eval()  # it returns nothing
    images = torch.randn(1, 3, 128, 128)
    maps, expected = images, []
    for i, part in enumerate(theirs.features):
        maps = part(maps)
        if i % 2:  # a stage
            expected.append(torch.nn.functional.layer_norm(maps, maps.shape[-1:]))
    for found, value in zip(ours(images), expected, strict=True):
        torch.testing.assert_close(found, value.permute(0, 3, 1, 2), rtol=1e-4, atol=1e-4)


def test_swin_of_another_size_or_model(tool, tmp_path, capsys):
    torch.save({'patch_embed.proj.weight': torch.zeros(4, 3, 4, 4)}, tmp_path / 'tiny.pth')
    uml = str(ROOT / 'configs' / '_base_' / 'models' / 'multimix.py')
    for options, message in (([], r'\d+ missing'), (['--config', uml], 'with a SwinTransformer')):
        with pytest.raises(SystemExit):
            arguments = ['swin', str(tmp_path / 'tiny.pth'), str(tmp_path / 'ours.pth'), *options]
            run_cli(tool.main, arguments)
        error = capsys.readouterr().err.strip()
        assert '\n' not in error and re.search(message, error), error
    assert CONVERTERS['swin'].rename('head.fc.weight') is None
