import logging
import math

import pytest
import torch
from mmengine.logging import MMLogger

from mmjoint.models.backbones import VGG16BN, Res2NetV1b
from mmjoint.models.backbones.res2net_v1b import STEM_KEYS
from mmjoint.utils.errors import UserError
from tests.test_reference.test_uml_networks import build


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    model = build('uml_res2net', fused=True, width=16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    return model, before


def fan_out(weight, groups=1):
    return weight.shape[0] * weight[0, 0].numel() // groups


def test_convolution_weights_are_normal_with_relu_gain_by_fan_out(model):
    checked = 0
    for name, module in model[0].named_modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() >= 2000:
            expected = math.sqrt(2 / fan_out(module.weight))
            assert module.weight.std().item() == pytest.approx(expected, rel=0.08), name
            assert abs(module.weight.mean().item()) < 0.1 * expected, name
            checked += 1
    assert checked > 60


def test_a_query_with_one_output_starts_large(model):
    weights = [attention.ch_wq.weight.flatten() for attention in model[0].neck.attentions]
    assert torch.cat(weights).std().item() == pytest.approx(math.sqrt(2), rel=0.15)


def test_biases_norms_and_linear_layers_keep_their_defaults(model):
    initialised, before = model
    after = initialised.state_dict()
    kept = [n for n in after if not (n.endswith('weight') and after[n].dim() == 4)]
    assert all(torch.equal(after[name], before[name]) for name in kept)
    bias = after['neck.attentions.0.sp_wv.bias']
    assert bias.abs().max() > 0


def official(backbone):
    """A backbone's weights under their official names, with what the network does not build."""
    back = {new: old for old, new in STEM_KEYS.items()}

    def name(key):
        for new, old in back.items():
            if key.startswith(new):
                return old + key[len(new) :]
        return key

    state = {name(key): torch.randn_like(value) for key, value in backbone.state_dict().items()}
    return {**state, 'fc.weight': torch.zeros(1), 'layer4.0.conv1.weight': torch.zeros(1)}


def test_pretrained_encoders_survive_the_initialisation(tmp_path):
    path = tmp_path / 'imagenet.pth'
    state = official(Res2NetV1b(base_channels=16))
    torch.save(state, path)
    model = build('uml_res2net', fused=True, width=16)
    model.backbone.pretrained = str(path)
    model.init_weights()
    assert torch.equal(model.backbone.stem[0].conv.weight, state['conv1.0.weight'])
    assert torch.equal(model.backbone.layer3[5].bn3.running_var, state['layer3.5.bn3.running_var'])
    assert not torch.equal(model.seg_backbone.stem[0].conv.weight, state['conv1.0.weight'])


@pytest.mark.parametrize('backbone', [Res2NetV1b, VGG16BN])
def test_scratch_is_warned_of_and_bad_files_are_named(backbone, tmp_path):
    told = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        backbone(base_channels=8).init_weights()
    finally:
        logger.removeHandler(handler)
    assert any(f'{backbone.__name__} starts from scratch' in line for line in told)

    with pytest.raises(UserError, match=r'nowhere\.pth: expected a file of pretrained weights'):
        backbone(base_channels=8, pretrained=str(tmp_path / 'nowhere.pth')).init_weights()
    garbage = tmp_path / 'garbage.pth'
    garbage.write_bytes(b'no tensors')
    with pytest.raises(UserError, match=r'garbage\.pth: cannot be read as a file of tensors'):
        backbone(base_channels=8, pretrained=str(garbage)).init_weights()
    other = tmp_path / 'other.pth'
    torch.save({'conv1_1.conv.weight': torch.zeros(1)}, other)
    with pytest.raises(UserError, match=r'other\.pth: expected all weights of .* missing, first'):
        backbone(base_channels=8, pretrained=str(other)).init_weights()
    wider = tmp_path / 'wider.pth'
    stored = backbone(base_channels=16).state_dict()
    if backbone is VGG16BN:
        places = {key: key.split('.', 3) for key in stored}
        stored = {
            f'conv{int(stage) + 1}_{int(unit) + 1}.{rest}': stored[key]
            for key, (_, stage, unit, rest) in places.items()
        }
    torch.save(stored, wider)
    with pytest.raises(UserError, match=r'wider\.pth: .* has shape .*, the config expects'):
        backbone(base_channels=8, pretrained=str(wider)).init_weights()
